import random
import shutil

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.projects.continued_pretraining import data
from llmguide.projects.continued_pretraining.data import Plan, domain, general, texts
from llmguide.projects.continued_pretraining.evaluation import completed
from llmguide.projects.continued_pretraining.project import check, freeze_lower_half, project
from llmguide.projects.pretrained import HFTokenizer, open_pretrained, sizes
from llmguide.projects.run import Run, plan_of
from llmguide.runs.folder import load_run, save_run

SIZES = ["--vocab-size", "300", "--n-layers", "2", "--d-model", "32", "--n-heads", "2"]
STEPS = ["--context-length", "32", "--batch-size", "16", "--gradient-accumulation-steps", "1"]
STEPS += ["--base-steps", "80", "--n-steps", "20", "--lr", "0.01"]
RATE = ["--continued-rate", "0.01"]


def corpus(path, line, n=80):
    draw = random.Random(SEED)
    blocks = ["\n".join(line(draw) for _ in range(12)) for _ in range(n)]
    path.mkdir()
    for i, block in enumerate(blocks):
        (path / f"{i}.txt").write_text(block + "\n")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def short_tests():
    """Fewer characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "HELD_OUT_CHARACTERS", 2000)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    speech = corpus(
        folder / "speech",
        lambda d: f"the {d.choice(['people', 'nation'])} of this {d.choice(['land', 'state'])} will rise",
    )
    code = corpus(
        folder / "code",
        lambda d: f"    {d.choice('abc')} = self.table[{d.choice('xyz')}] + {d.choice('123')}",
    )
    args = ["project", "continued-pretraining", "--general", speech, "--domain", code]
    assert main([*args, *SIZES, *STEPS, *RATE, "--seed", str(SEED), "--output", str(folder / "whole")]) == 0
    return folder / "whole"


def test_the_domain_is_learned_and_replay_keeps_more_of_the_rest(finished, results):
    found = results(finished)["scores"]
    assert found["domain"]["domain"] < 0.7 * found["base"]["domain"]
    forgotten, with_replay = (
        found[name]["general"] - found["base"]["general"] for name in ("domain", "domain + replay")
    )
    assert forgotten > 0.05  # bits per byte
    assert with_replay < forgotten / 2
    ngram = results(finished)["n-gram"]
    assert ngram["order"] in range(1, 9)
    assert ngram["domain"] < found["base"]["domain"]  # counted on the domain, which the base has not read
    passed = {criterion.measure: criterion.passed for criterion in check(finished)}
    assert passed["relative reduction of bits per byte of the domain"]
    assert passed["bits per byte of general text saved by replay"]


def test_a_continuation_that_did_not_learn_fails(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    save_run(copy / "models" / "domain", *load_run(copy / "models" / "base"))
    assert main(["check", "continued-pretraining", str(copy)]) == 1


@pytest.fixture(scope="module")
def adapted(finished, tmp_path_factory):
    """The base of the finished run, continued through adapters."""
    plan, output = plan_of(Plan, finished), tmp_path_factory.mktemp("adapted") / "run"
    args = ["--base", str(finished / "models" / "base"), "--general", plan.general, "--domain", plan.domain]
    choices = ["--lora-rank", "8", "--excerpt", "100", "--replay", "0.5"]
    command = ["project", "continued-pretraining", *args, *SIZES, *STEPS, *RATE, *choices]
    assert main([*command, "--seed", str(SEED), "--output", str(output)]) == 0
    return output


def test_adapters_change_the_upper_half_of_the_base_alone(finished, adapted, results):
    base, *continued = (
        load_run(folder / "models" / name)[0].state_dict()
        for folder, name in ((finished, "base"), (adapted, "domain"), (adapted, "domain + replay"))
    )
    for model in continued:
        changed = {name for name in base if not torch.equal(base[name], model[name])}
        assert changed
        assert all(name.startswith("blocks.1.") and "norm" not in name for name in changed)
    assert list(results(adapted)["scores"]) == ["base", "domain", "domain + replay", "from nothing"]


def test_differences_are_of_the_scores_and_of_all_documents(adapted, results):
    found = results(adapted)
    scores = found["scores"] | {"n-gram": found["n-gram"]}
    for pair, kinds in found["differences"].items():
        one, other = pair.split(" minus ")
        for kind, difference in kinds.items():
            assert difference["score"] == pytest.approx(scores[one][kind] - scores[other][kind])
            assert difference["low"] <= difference["score"] <= difference["high"]
    assert found["differences"]["domain minus base"]["domain"]["high"] < 0
    assert found["differences"]["domain + replay minus domain"]["general"]["high"] < 0


def test_a_base_is_checked_by_its_intervals(finished, adapted, tmp_path):
    *gains, by_replay = check(adapted)
    # the lines of this domain repeat, so an n-gram model predicts them better than the tiny base
    assert [gain.passed for gain in gains] == [True, False]
    assert by_replay.passed
    copy = shutil.copytree(adapted, tmp_path / "copy")
    save_run(copy / "models" / "domain", *load_run(finished / "models" / "base"))
    over_base, _, _ = check(copy)
    assert (over_base.value, over_base.passed) == (0.0, False)


def test_killed_in_the_training_of_adapters_it_ends_as_if_it_had_not_been(adapted, tmp_path, killed, results):
    copy = killed(adapted, tmp_path / "copy", "domain-+-replay")
    shutil.rmtree(copy / "models" / "domain + replay")
    max((copy / "checkpoints" / "domain + replay").glob("step-*")).unlink()
    project(Run("continued-pretraining", plan_of(Plan, copy), SEED, copy))
    assert results(adapted) == results(copy)


def test_a_base_that_does_not_exist_is_refused(tmp_path, capsys):
    args = ["project", "continued-pretraining", "--base", str(tmp_path / "none"), "--lora-rank", "4"]
    assert main([*args, "--output", str(tmp_path / "run")]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err
    assert not (tmp_path / "run" / "models").exists()


def test_what_is_frozen_stays_and_the_rest_moves(finished):
    base, frozen = (
        load_run(finished / "models" / name)[0].state_dict() for name in ("base", "domain, half frozen")
    )
    moved = {name for name in base if not torch.equal(base[name], frozen[name])}
    assert not any(name.startswith(("tokens.", "blocks.0.")) for name in moved)
    assert any(name.startswith("blocks.1.") for name in moved)


def test_half_of_a_model_learns():
    config = ModelConfig(vocab_size=10, context_length=4, n_layers=2, d_model=8, n_heads=2)
    model = build(config)
    block = sum(p.numel() for p in model.blocks[1].parameters())
    others = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(("tokens", "blocks")))
    assert freeze_lower_half(model) == block + others


def test_sides_share_no_document_and_are_cut():
    plan = Plan()
    sides = [texts(domain(plan), side, 100_000) for side in ("train", "validation")]
    assert [sum(map(len, side)) for side in sides] == [100_000, 100_000]
    assert not set(sides[0]) & set(sides[1])


def test_what_is_completed_counts_by_its_bytes(finished):
    _, tokenizer = load_run(finished / "models" / "base")
    first = tokenizer.encode(" the")[0]
    size, rest = len(tokenizer.pieces([first])[0]), "zq"

    class Always:
        config = ModelConfig(vocab_size=300, context_length=4, n_layers=1, d_model=4, n_heads=1)

        def __call__(self, ids):
            return torch.nn.functional.one_hot(torch.full_like(ids, first), 300).float()

    text = tokenizer.decode([first]) * 3 + rest
    assert tokenizer.encode(text).count(first) == 3
    assert completed(Always(), tokenizer, [text], 4) == pytest.approx(3 * size / (3 * size + len(rest)))


@pytest.mark.nightly
def test_a_base_of_transformers_is_continued_and_kept_in_its_form(finished, tmp_path):
    tokenizers, transformers = pytest.importorskip("tokenizers"), pytest.importorskip("transformers")
    plan = plan_of(Plan, finished)
    read = texts(general(plan), "train", 20_000)
    learned = tokenizers.ByteLevelBPETokenizer()
    learned.train_from_iterator(read, vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=learned._tokenizer, eos_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(tmp_path / "base")
    config = transformers.LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    args = ["--base", str(tmp_path / "base"), "--general", plan.general, "--domain", plan.domain, *RATE]
    steps = ["--context-length", "32", "--n-steps", "4", "--output", str(tmp_path / "run")]
    assert main(["project", "continued-pretraining", *args, *SIZES, *steps]) == 0
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "models" / "domain")
    ours, borrowed = open_pretrained(tmp_path / "run" / "models" / "domain")
    ids = borrowed.encode("the people of ï½")
    assert sum(sizes(borrowed, ids)) == len("the people of ï½".encode())
    torch.testing.assert_close(theirs(torch.tensor([ids])).logits, ours(torch.tensor([ids])))


def test_bytes_of_a_sentencepiece_tokenizer():
    class Pieces:
        eos_token_id = 0
        names = ("</s>", "\u2581the", "<0xEF>", "\u00e9t")

        def get_vocab(self):
            return {name: i for i, name in enumerate(self.names)}

        def convert_ids_to_tokens(self, ids):
            return [self.names[i] for i in ids]

    assert sizes(HFTokenizer(Pieces()), [1, 2, 3]) == [4, 1, 3]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"replay": 1.5}, "--replay 1.5 is a fraction"),
        ({"replay": 0.0}, "--replay 0.0 is a fraction"),
        ({"characters": 0}, "--characters 0 must be at least 1"),
        ({"base": "gpt2", "lora_rank": 0}, "--lora-rank 0 must be at least 1"),
        ({"lora_rank": 4}, "--lora-rank adapts a --base"),
        ({"excerpt": 0}, "--excerpt 0 must be at least 1"),
    ],
)
def test_a_wrong_choice_is_refused_before_the_base_is_trained(choice, message):
    with pytest.raises(ValueError, match=message):
        Plan(**choice)


def test_a_domain_without_text_is_refused_before_the_base_is_trained(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    args = ["project", "continued-pretraining", "--domain", str(tmp_path / "notes")]
    assert main([*args, "--output", str(tmp_path / "run")]) == 1
    assert "notes: there is no text to train on" in capsys.readouterr().err
    assert not (tmp_path / "run" / "models").exists()
