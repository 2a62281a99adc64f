import json
import random
import shutil
from math import log2

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.models import build, save
from llmguide.projects.character_model.characters import Characters
from llmguide.projects.character_model.metrics import bits_of, character_bits, longest_copy
from llmguide.projects.character_model.project import Plan, documents, project
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import load_model

SIZES = ["--n-layers", "1", "--d-model", "32", "--n-heads", "2", "--context-length", "32"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Documents that end with their first word, which is further back than the count can see."""
    draw = random.Random(SEED)
    words = (draw.choice(["alphabet", "catapult", "moonbeam"]) for _ in range(2000))
    path = tmp_path_factory.mktemp("corpus") / "words.jsonl"
    path.write_text("".join(json.dumps({"text": f"{word} -------- {word}\n\n"}) + "\n" for word in words))
    return path


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    args = ["project", "character-model", "--corpus", str(corpus), "--output", str(folder), *SIZES]
    assert main([*args, "--n-steps", "240", "--batch-size", "16", "--lr", "0.01", "--seed", str(SEED)]) == 0
    return folder


def test_a_run_passes_where_the_count_cannot_see_far_enough(finished, results, capsys):
    found = results(finished)
    assert found["bits"]["model"] < found["bits"]["5-gram"] < found["bits"]["1-gram"]
    assert main(["check", "character-model", str(finished)]) == 0
    assert "passed" in capsys.readouterr().out
    assert len(found["samples"]) == 4
    best, difference = found["best n-gram"], found["model minus n-gram"]
    assert best["score"] <= found["bits"]["5-gram"] + 0.01  # without the line feeds between the texts
    assert difference["score"] == pytest.approx(found["bits"]["model"] - best["score"])
    assert difference["low"] <= difference["score"] <= difference["high"]


def test_an_untrained_model_fails_whatever_the_record_says(finished, tmp_path, killed, capsys):
    copy = killed(finished, tmp_path / "copy", "model")
    (copy / "record.json").write_text((finished / "record.json").read_text())
    torch.manual_seed(SEED)
    save(build(load_model(copy).config), copy)
    assert main(["check", "character-model", str(copy)]) == 1
    assert "not passed" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", "[]", "{"])
def test_damaged_characters_are_named(finished, tmp_path, capsys, content):
    copy = shutil.copytree(finished, tmp_path / "copy")
    (copy / "characters.json").write_text(content)
    assert main(["check", "character-model", str(copy)]) == 1
    assert "characters.json is damaged" in capsys.readouterr().err


def test_killed_in_training_it_ends_as_if_it_had_not_been(finished, tmp_path, killed):
    copy = killed(finished, tmp_path / "copy", "model")
    (copy / "model.safetensors").unlink()
    max((copy / "checkpoints" / "model").glob("step-*")).unlink()
    project(Run("character-model", plan_of(Plan, copy), SEED, copy))
    whole, resumed = (load_model(folder).state_dict() for folder in (finished, copy))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    records = [json.loads((folder / "record.json").read_text()) for folder in (finished, copy)]
    assert records[0]["results"] == records[1]["results"]


def test_a_character_that_is_not_known_costs_its_number():
    torch.manual_seed(SEED)
    tokenizer = Characters("ab")
    plan = Plan(n_layers=1, d_model=16, n_heads=2, context_length=8)
    sizes = {name: getattr(plan, name) for name in ("n_layers", "d_model", "n_heads")}
    model = build(small_decoder(tokenizer.vocab_size, plan.context_length, **sizes)).eval()
    torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every id the same logit
    assert bits_of(model, tokenizer, "abab") == pytest.approx(4 * log2(4))
    assert bits_of(model, tokenizer, "ab\u00e9b") == pytest.approx(4 * log2(4) + log2(0x110000))
    unknown = log2(4) + log2(0x110000)
    assert character_bits(model, tokenizer, "\u00e9b").tolist() == pytest.approx([unknown, log2(4)])


def test_copies_are_found_wherever_they_stand():
    assert longest_copy("xxhello worldxx", "say hello world!") == "hello world"
    assert longest_copy("abc", "xyz") == ""


def test_a_corpus_without_text_is_refused_and_its_folder_can_be_used_again(corpus, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    (tmp_path / "one.txt").write_text("one passage")
    args = ["project", "character-model", "--output", str(tmp_path / "run"), *SIZES, "--n-steps", "1"]
    for name, why in (("empty", "to train on"), ("binary", "to train on"), ("one", "to measure on")):
        assert main([*args, "--corpus", str(tmp_path / f"{name}.txt")]) == 1
        error = capsys.readouterr().err
        assert f"{name}.txt: there is no text" in error
        assert why in error
    assert main([*args, "--corpus", str(corpus)]) == 0


def test_the_default_corpus_is_recent_and_its_sides_differ():
    sides = [documents(None, side) for side in ("train", "validation")]
    assert 2_500_000 < sum(map(len, sides[0])) < 3_500_000
    assert not set(sides[0]) & set(sides[1])
