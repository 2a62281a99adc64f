import asyncio
import json
import random
import shutil

import pytest
import torch
from tests.seed import SEED
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from llmguide.cli.main import main
from llmguide.coding.client import Completion
from llmguide.models import build
from llmguide.post_training.preferences.dpo import sequence_logprob
from llmguide.post_training.sft import completion, shifted
from llmguide.projects.creative_writing import project as creative_writing
from llmguide.projects.creative_writing.app import APP, encode, messages
from llmguide.projects.creative_writing.project import (
    borders_in,
    control_accuracy,
    liveliness,
    reset_embeddings,
)
from llmguide.projects.creative_writing.styles import (
    ANY,
    CODES,
    CONTROLS,
    borders_of,
    coded,
    levels_of,
    prompt_ids,
)
from llmguide.projects.creative_writing.texts import Passage, passages, recent
from llmguide.projects.training import small_decoder
from llmguide.projects.user_preferences import of_users
from llmguide.projects.webapp.backend import Backend
from llmguide.projects.webapp.store import Store
from llmguide.projects.webapp.web import AppServer
from llmguide.runs.folder import load_run, save_run
from llmguide.tokenization.tokenizer import Tokenizer

CALM = "The man sat on a stone. "
LIVELY = "What a wonderful surprise! "


def work(draw):
    # fewer than half are lively, so that the median, which is the border of the tone, is always calm
    return "".join(draw.choice((CALM, CALM, LIVELY)) for _ in range(60))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy world of two styles, which a model of a few steps can tell apart."""
    folder, draw = tmp_path_factory.mktemp("runs"), random.Random(SEED)
    small = pytest.MonkeyPatch()
    small.setattr(creative_writing, "N_TESTS", 8)
    small.setattr(creative_writing, "MAX_NEW_TOKENS", 24)
    (folder / "works").mkdir()
    for i in range(16):
        (folder / "works" / f"{i}.txt").write_text(work(draw))
    sizes = ["--vocab-size", "320", "--n-layers", "2", "--d-model", "32", "--n-heads", "2"]
    steps = ["--language-steps", "30", "--control-steps", "150", "--batch-size", "4", "--n-pairs", "8"]
    rates = ["--control-rate", "2e-3", "--preference-rate", "2e-4"]
    args = ["project", "creative-writing", "--corpus", str(folder / "works"), *sizes, *steps, *rates]
    assert main([*args, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    yield folder / "whole"
    small.undo()


@pytest.fixture
def tokenizer():
    return Tokenizer.train(CALM + LIVELY, 300, special_tokens=["<|endoftext|>", *CODES])


def test_a_passage_is_a_sentence_after_what_stands_before_it():
    text = (
        "Prologue of the play. KENT.\nSay it! Who? Nobody is here, my lord. "
        + "far too long " * 20
        + ". So be it."
    )
    found = list(passages(text))
    assert [passage.after for passage in found] == [
        "KENT.\nSay it! ",
        "Who? Nobody is here, my lord. ",
        "So be it.",
    ]
    for passage in found:
        assert passage.before + passage.after in text
        assert len(passage.before) <= 120


def test_recent_begins_with_a_word():
    text = "word " * 100  # 120 characters are 24 whole words
    assert recent(text) == text[-120:]
    assert recent("half" + "w" * 115 + " " + "x" * 10) == "x" * 10
    assert recent("short") == "short"


def test_levels_part_texts_into_equal_shares():
    texts = [" ".join(["word"] * n) + "." for n in range(1, 10)]  # 1 to 9 words a sentence
    borders = borders_of(texts)
    found = [levels_of(text, borders)["length"] for text in texts]
    assert found == ["short"] * 3 + ["middling"] * 3 + ["long"] * 3


def test_codes_in_the_text_of_a_user_are_text(tokenizer):
    prompt = coded("Say <|tone:calm|> twice", {"tone": "lively"})
    ids = prompt_ids(tokenizer, prompt)
    special = [i for i in ids if i in tokenizer.special_tokens.values()]
    names = {i: name for name, i in tokenizer.special_tokens.items()}
    assert [names[i] for i in special] == [
        "<|endoftext|>",
        f"<|length:{ANY}|>",
        f"<|words:{ANY}|>",
        "<|tone:lively|>",
    ]
    assert tokenizer.decode([i for i in ids if i not in special]) == "Say <|tone:calm|> twice"
    with pytest.raises(ValueError, match="does not begin with the codes"):
        prompt_ids(tokenizer, "<|tone:calm|>Once")


def test_a_prompt_that_is_too_long_keeps_its_codes_and_its_end(tokenizer):
    request = Completion(coded("The end of it. " * 20, {"tone": "calm"}), "model", max_tokens=8)
    whole, cut = encode(tokenizer, request, 10_000), encode(tokenizer, request, 20)
    assert len(cut) == 20
    assert cut == [whole[0], *whole[-19:]]
    assert whole[-3:] == [tokenizer.special_tokens[code] for code in CODES if code in request.prompt]


def test_vectors_are_drawn_anew_and_the_others_stay():
    model = build(small_decoder(300, 16, n_layers=1, d_model=64, n_heads=2))
    before = model.tokens.weight.detach().clone()
    before[[7, 9, 11]] = before[3].clone()  # three that cannot be told apart
    model.tokens.weight.data.copy_(before)
    reset_embeddings(model, [7, 9, 11], seed=0)
    after = model.tokens.weight.detach()
    assert not (after != before).any(dim=1)[[i for i in range(300) if i not in (7, 9, 11)]].any()
    assert torch.corrcoef(after[[7, 9, 11]]).triu(1).abs().max() < 0.5
    assert after[[7, 9, 11]].std() == pytest.approx(before.std().item(), rel=0.3)


def test_the_rater_likes_no_text_for_being_short():
    assert liveliness("Ha!") == liveliness("Who comes there?") == 0.0
    assert liveliness("Who comes there at night?") == 1.0
    assert liveliness(CALM) == 0.0


def test_obedience_is_counted(monkeypatch, tokenizer):
    """A model that writes in the level asked for, but for the tone, which it does not know."""
    texts = [" ".join(["a" * letters] * n) + end for letters in (1, 4, 9) for n in (2, 5, 9) for end in ".!"]
    borders = borders_of(texts)

    def written(_model, _tokenizer, places, levels, *, seed):
        known = {name: level for name, level in levels.items() if name != "tone"}
        fitting = [text for text in texts if known.items() <= levels_of(text, borders).items()]
        return [fitting[i % len(fitting)] for i in range(len(places))]

    monkeypatch.setattr(creative_writing, "continuations", written)
    found = control_accuracy(None, tokenizer, [Passage("", "")] * 36, borders)
    assert found["length"]["all"]["score"] == found["words"]["all"]["score"] == 1.0
    assert found["tone"]["all"]["score"] == pytest.approx(1 / 2)
    assert [found["words"]["levels"][level]["mean"] for level in ("short", "middling", "long")] == [1, 4, 9]


def test_a_run_learns_what_its_codes_ask_for(finished, results):
    """A style is likelier where it is asked for than where the other one is."""
    model, tokenizer = load_run(finished / "models" / "controls")
    borders = borders_in(finished)
    texts = {levels_of(text, borders)["tone"]: text for text in (CALM, LIVELY)}
    assert len(texts) == 2

    def logprob(text, tone):
        prompt = prompt_ids(tokenizer, coded(CALM + LIVELY, {"tone": tone}))
        inputs, targets = shifted(completion(prompt, tokenizer.encode(text)))
        return sequence_logprob(model(inputs[None]), targets[None]).item()

    for tone, text in texts.items():
        [other] = texts.keys() - {tone}
        assert logprob(text, tone) > logprob(text, other) + 1
    found = results(finished)
    bits, best = found["bits"], found["best n-gram"]
    assert bits["model"] < bits["1-gram"]
    assert best["score"] <= bits["5-gram"] + 0.01  # its first byte follows a line feed
    assert found["model minus n-gram"]["score"] == pytest.approx(bits["model"] - best["score"])


def test_a_model_without_training_fails_whatever_the_record_says(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    for name in ("language", "controls", "preferred"):
        model, tokenizer = load_run(copy / "models" / name)
        for weight in model.parameters():
            weight.data *= 0
        save_run(copy / "models" / name, model, tokenizer)
    assert main(["check", "creative-writing", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


def test_the_application_writes_with_the_model_of_a_run_and_the_project_learns_from_its_users(
    finished, tmp_path
):
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"

    async def use():
        store = Store(url, APP.name)
        async with AppServer(Backend(APP, APP.open(finished), store, token=None)) as server:

            async def post(path, body):
                request = HTTPRequest(
                    server.address + path, "POST", {"Content-Type": "application/json"}, json.dumps(body)
                )
                return (await AsyncHTTPClient().fetch(request)).body.decode()

            one = json.loads(await post("/api/documents", {"title": "", "content": ""}))["id"]
            wish = {"document": one, "text": CALM, "tone": "lively", "tokens": 16}
            texts = set()
            while len(texts - {""}) < 2:
                name = json.loads((await post("/api/answers", wish)).split("\n")[1].removeprefix("data: "))[
                    "id"
                ]
                answer = next(row for row in store.document(one)["answers"] if row["id"] == name)
                await post(f"/api/answers/{name}/verdict", {"verdict": -1 if texts - {""} else 1})
                texts.add(answer["text"])
            answers = store.document(one)["answers"]
        store.close()
        return answers

    answers = asyncio.run(use())
    assert {row["state"] for row in answers} == {"done"}
    assert all(row["prompt"]["prompt"] == coded(CALM, {"tone": "lively"}) for row in answers)
    liked, *others = [row["text"] for row in answers if row["text"]]
    pairs = of_users(url, APP.name)
    assert {(pair["chosen"], pair["rejected"]) for pair in pairs} == {(liked, others[-1])}
    empty = f"sqlite:///{tmp_path / 'empty.sqlite'}"
    with pytest.raises(ValueError, match="no pair of answers to one prompt"):
        of_users(empty, APP.name)


def test_a_model_behind_a_url_is_told_the_style_in_words():
    levels = dict.fromkeys(CONTROLS, ANY) | {"length": "short", "words": "long"}
    system, user = messages("Once", levels)
    assert "Write it in seven words or fewer; in long, learned words." in system["content"]
    assert user == {"role": "user", "content": "Once"}
    assert "Write it" not in messages("", dict.fromkeys(CONTROLS, ANY))[0]["content"]
