import json
import random
import shutil
from dataclasses import replace
from math import inf

import pytest
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.models import build, to_hf
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear
from llmguide.post_training.chat import END, START
from llmguide.projects.fine_tuning.data import Example
from llmguide.projects.instruction_tuning import data as instruction_data
from llmguide.projects.instruction_tuning import evaluation
from llmguide.projects.instruction_tuning.data import (
    answer_of,
    ask,
    items,
    reply,
    shown,
    templates,
    training_items,
)
from llmguide.projects.instruction_tuning.evaluation import SAMPLING, held_out_prompts, kind_of
from llmguide.projects.instruction_tuning.models import (
    CHECKED,
    CONDITIONS,
    Condition,
    Plan,
    open_base,
    open_condition,
)
from llmguide.projects.instruction_tuning.nearest_neighbors import NEIGHBORS, best_neighbor_answers
from llmguide.projects.instruction_tuning.types import TYPES
from llmguide.projects.run import plan_of
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

WORDS = ["red", "blue", "green", "white"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Say a word, of many rows; repeat it, of few; echo it, which is never shown."""
    folder, draw = tmp_path_factory.mktemp("runs"), random.Random(SEED)
    rows = []
    for i in range(300):
        word = draw.choice(WORDS)
        task = "say" if i % 6 else "repeat"
        rows.append({"task": task, "prompt": f"{task} {i} {word}", "completion": word})
        rows.append({"task": "echo", "prompt": f"echo {i} {word}", "completion": word})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [f"{row['completion']} {row['prompt']}" for row in rows]
    tokenizer = Tokenizer.train(texts, 290, special_tokens=[END_OF_TEXT, START, END])
    torch.manual_seed(SEED)
    shape = small_decoder(tokenizer.vocab_size, 48, n_layers=1, d_model=32, n_heads=2)
    base = build(replace(shape, tie_embeddings=False))
    start, end = (tokenizer.special_tokens[name] for name in (START, END))
    ids = torch.tensor([i for text in texts for i in (start, *tokenizer.encode(text), end)])
    train(base, Windows(ids, 48), TrainConfig(n_steps=300, context_length=48, lr=0.02, optimizer="muon"))
    save_run(folder / "base", base, tokenizer)
    args = ["--data", str(folder / "rows.jsonl"), "--base", str(folder / "base"), "--held-out", "echo"]
    args += ["--seed", str(SEED)]
    steps = ["--context-length", "48", "--n-steps", "60", "--adapter-rate", "0.01", "--full-rate", "0.005"]
    command = ["project", "instruction-tuning", *args, *steps, "--output", str(folder / "whole")]
    assert main(command) == 0
    return folder / "whole"


def test_shown_types_are_learned_and_the_run_is_recorded(finished, results):
    found = results(finished)
    for name in CONDITIONS:
        assert found["tests"]["systems"][name]["shown types"]["score"] > 0.9
    assert found["tests"]["systems"]["base"]["shown types"]["score"] < 0.5
    assert set(found["sampling"]) == set(SAMPLING)
    assert 4.1 < found["costs"]["bits"] < 4.2


def test_the_nearest_instructions_answer_and_the_differences_are_paired(finished, results):
    found = results(finished)["tests"]
    nearest, checked = (found["systems"][name] for name in ("the nearest neighbors", CHECKED.name))
    assert nearest["shown types"]["score"] > 2 / len(WORDS)  # the right word is shared, and one of few
    for kind, difference in found["differences"]["the nearest neighbors"].items():
        if kind != "small types":
            assert difference["score"] == pytest.approx(
                nearest[kind]["score"] - checked[kind]["score"], abs=2e-4
            )
    assert found["neighbors"] in NEIGHBORS


def test_neighbors_vote_and_as_many_as_answer_best(tmp_path):
    say = [(f"say red {i}", "red") for i in range(6)] + [("say blue", "green")]
    rows = [{"task": "say", "prompt": prompt, "completion": answer} for prompt, answer in say]
    rows += [{"task": "echo", "prompt": "echo blue", "completion": "blue"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = str(tmp_path / "rows.jsonl")
    seen = {item.parts[0] for item in training_items(data, ["echo"])["say"]}
    assert "say blue" in seen
    assert best_neighbor_answers(data, ["echo"], ["echo blue"], ["green"]) == (1, ["green"])
    assert len(seen) > 3  # so three neighbors have two that say red
    assert best_neighbor_answers(data, ["echo"], ["echo blue"], ["red"]) == (3, ["red"])


def test_the_mixture_is_what_was_trained_on(finished, results):
    found = results(finished)
    sizes = found["sizes"]
    even, proportional = (found["mixtures"][Condition("QLoRA", t).name] for t in (inf, 1.0))
    assert even["say"] == even["repeat"] == 60 * 8 / 2
    share = proportional["say"] / (60 * 8)
    assert share == pytest.approx(sizes["say"] / (sizes["say"] + sizes["repeat"]), abs=0.001)
    assert "echo" not in sizes


def test_adapters_that_forgot_fail_whatever_the_record_says(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    path = copy / "models" / f"{CHECKED.name}.safetensors"
    save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}, path)
    assert main(["check", "instruction-tuning", str(copy)]) == 1


def test_checkpoints_of_a_finished_training_are_gone(finished):
    assert not list(finished.rglob("step-*"))


def test_the_tuned_base_is_in_four_bits_and_as_it_was(finished):
    plan = plan_of(Plan, finished)
    tuned, base = open_condition(finished, plan, CHECKED).model, open_base(plan).model
    layers = [module for module in tuned.modules() if isinstance(module, QuantizedLinear)]
    assert len(layers) == 7  # q, k, v, o, gate, up and down of the only block
    assert torch.equal(tuned.tokens.weight, base.tokens.weight)
    alone = QuantizedLinear(base.blocks[0].feed_forward.up)
    assert torch.equal(tuned.blocks[0].feed_forward.up.base.packed, alone.packed)
    assert not any(p.requires_grad for n, p in tuned.named_parameters() if ".adapters." not in n)


def test_a_row_without_a_field_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"task": "say", "prompt": "say red"}\n')
    with pytest.raises(ValueError, match=r"line 1: there is no text 'completion'"):
        items(str(path))


@pytest.fixture(scope="module")
def drawn():
    """The types that come along, with reviews from no registry."""
    rows = [Example(str(i % 90), f"film number {i} is what it is", "fresh") for i in range(5000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instruction_data, "reviews", lambda: rows)
        items.cache_clear()
        yield items()
    items.cache_clear()


def test_answers_are_right(drawn):
    sums = {"add": lambda a, b: a + b, "subtract": lambda a, b: a - b, "larger": max, "smaller": min}
    for type_, work in sums.items():
        assert all(item.answer == str(work(*map(int, item.parts))) for item in drawn[type_])
    assert all(item.answer == str(eval(f"len('{item.parts[0]}')")) for item in drawn["len"])
    for type_, place in {"first word": 0, "second word": 1, "last word": -1}.items():
        assert all(item.answer == item.parts[0].split()[place] for item in drawn[type_])
    after = {item.parts[0]: item.answer for item in drawn["after"] if not item.parts[0].isdigit()}
    assert after["Monday"] == "Tuesday"
    assert all(after[item.answer] == item.parts[0] for item in drawn["before"] if not item.answer.isdigit())


def test_an_answer_is_found_again_in_its_reply(drawn):
    for type_, some in drawn.items():
        assert all(answer_of(type_, reply(item)) == item.answer for item in some)
        assert all(answer_of(type_, reply(item)) != item.decoy for item in some)
    assert answer_of("add", "7") == "7"


def test_a_decoy_is_the_answer_of_the_partner(drawn):
    partners = {"before": "after", "subtract": "add", "smaller": "larger", "second word": "first word"}
    for type_, partner in partners.items():
        answers = {item.parts: item.answer for item in drawn[partner]}
        assert all(item.decoy == answers[item.parts] != item.answer for item in drawn[type_] if item.decoy)


def test_held_out_items_words_and_types_are_never_shown(drawn):
    plan = Plan(n_steps=40)
    learned = training_items(plan.data, plan.held_out)
    assert learned.keys() == TYPES.keys() - set(plan.held_out)
    assert not any(item.is_test for some in learned.values() for item in some)
    asked = held_out_prompts(plan)
    assert all(q.item.is_test for q in asked)
    for q in asked:
        is_last = q.template == len(templates(q.item.type)) - 1
        if kind_of(plan, q) == "new words":
            assert is_last
            assert q.template not in shown(q.item.type)
        elif q.item.type not in plan.held_out:
            assert not is_last
    shown_texts = {ask(item, t) for some in learned.values() for item in some for t in shown(item.type)}
    assert not shown_texts & {ask(*q) for q in asked}


@pytest.mark.nightly
def test_the_types_that_come_along_are_asked_of_any_base(drawn, tmp_path):
    texts = [ask(item, 0) for some in drawn.values() for item in some[:20]]
    tokenizer = Tokenizer.train(texts, 400, special_tokens=[END_OF_TEXT, START, END])
    shape = small_decoder(tokenizer.vocab_size, 128, n_layers=1, d_model=16, n_heads=2)
    save_run(tmp_path / "base", build(shape), tokenizer)
    args = ["--base", str(tmp_path / "base"), "--context-length", "128", "--n-steps", "2", "--rank", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "N_TEST", 2)
        patch.setattr(evaluation, "N_PARAPHRASED", 1)
        assert main(["project", "instruction-tuning", *args, "--output", str(tmp_path / "run")]) == 0
        assert main(["check", "instruction-tuning", str(tmp_path / "run")]) == 1
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    base = record["results"]["base"]
    assert base["known"].keys() == {name for name, kind in TYPES.items() if kind.statement}
    assert base["loss"]["float32"] == pytest.approx(base["loss"]["NF4"], abs=0.1)


def test_a_base_that_has_the_tokens_of_chatml_is_asked_in_it(tmp_path):
    words = {word: i for i, word in enumerate(["<end>", START, END, "user", "assistant", "Hi", "You", "are"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    theirs.add_special_tokens({"additional_special_tokens": [START, END]})
    theirs.chat_template = "{% for m in messages %}You are {{ m.content }}{% endfor %}"
    theirs.save_pretrained(tmp_path)
    to_hf(build(small_decoder(len(words), 32, n_layers=1, d_model=8, n_heads=2))).save_pretrained(tmp_path)
    chat = open_base(Plan(base=str(tmp_path)))
    assert chat.end_id == words[END]
    prompt = chat.prompt([{"role": "user", "content": "Hi"}])
    assert prompt == [words[word] for word in (START, "user", "Hi", END, START, "assistant")]


def test_a_held_out_type_that_there_is_not_is_refused_before_the_base_is_opened(tmp_path, capsys):
    rows = [{"task": task, "prompt": "a", "completion": "b"} for task in ("one", "two")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ["project", "instruction-tuning", "--data", str(tmp_path / "rows.jsonl"), "--base", "none"]
    for held_out in (["three"], ["one", "two"]):
        assert main([*args, "--output", str(tmp_path / "run"), "--held-out", *held_out]) == 1
        assert "must be some of the types, and not all of them: one, two" in capsys.readouterr().err
