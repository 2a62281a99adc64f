import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu
import torch
from rouge_score.rouge_scorer import RougeScorer
from safetensors.torch import load_file, save_file
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.models import build
from llmguide.post_training.chat import END, START
from llmguide.projects.fine_tuning import project as fine_tuning
from llmguide.projects.fine_tuning.data import Example, documented, naive_bayes, part, side_of
from llmguide.projects.fine_tuning.metrics import FULL
from llmguide.projects.fine_tuning.project import (
    BASE,
    TASKS,
    Plan,
    examples,
    open_base,
    open_fine_tuned,
    write_example,
    write_prompt,
)
from llmguide.projects.run import plan_of
from llmguide.projects.training import small_decoder
from llmguide.runs.folder import save_run
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

STEPS = [
    "--context-length",
    "56",
    "--n-train",
    "100",
    "--n-steps",
    "80",
    "--patience",
    "4",
    "--batch-size",
    "16",
]
RATES = ["--full-rate", "0.005", "--lora-rate", "0.01", "--ranks", "2", "4"]


@pytest.fixture(scope="module", autouse=True)
def short_tests():
    """Fewer evaluations of fewer examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "N_VALIDATION", 30)
        patch.setattr(fine_tuning, "EVALUATIONS", 8)
        patch.setattr(fine_tuning, "FEW", 4)
        yield


def write_base(folder, texts):
    """Train a base that has read the inputs, and no output."""
    tokenizer = Tokenizer.train(texts, 290, special_tokens=[END_OF_TEXT, START, END])
    torch.manual_seed(SEED)
    shape = small_decoder(290, 56, n_layers=1, d_model=32, n_heads=2)
    model = build(replace(shape, tie_embeddings=False))
    ids = torch.tensor([i for text in texts for i in (*tokenizer.encode(text), 0)])
    config = TrainConfig(n_steps=100, context_length=56, lr=0.02, optimizer="muon")
    train(model, Windows(ids, 56), config)
    save_run(folder, model, tokenizer)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Reviews and functions whose answer is in their own words."""
    folder, draw = tmp_path_factory.mktemp("runs"), random.Random(SEED)
    rows = {"classify": [], "summarize": []}
    for i in range(200):
        word = draw.choice(["good", "good", "bad"])
        rows["classify"].append({"prompt": f"{word} film {i} {word}", "completion": word})
        word = draw.choice(["size", "name", "root"])
        rows["summarize"].append({"prompt": f"def get {word} {i}", "completion": f"get {word}"})
    args = []
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, some)))
        args += [f"--{name}", str(folder / f"{name}.jsonl")]
    write_base(folder / "base", [row["prompt"] for some in rows.values() for row in some])
    args += ["--base", str(folder / "base"), *STEPS, *RATES]
    command = ["project", "fine-tuning", *args, "--seed", str(SEED), "--output", str(folder / "whole")]
    assert main(command) == 0
    return folder / "whole"


def test_a_run_passes_where_a_word_decides(finished, results, capsys):
    found = results(finished)["tests"]
    for method in (FULL, "LoRA, rank 2", "LoRA, rank 4"):
        assert found["age"]["systems"][method]["score"] > 0.9
        assert found["summary"]["systems"][method]["rougeL"] > 0.7
    assert found["age"]["systems"][BASE]["score"] < 0.9
    assert main(["check", "fine-tuning", str(finished)]) == 0
    assert "passed" in capsys.readouterr().out


def test_adapters_that_forgot_fail_whatever_the_record_says(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    for path in (copy / "models" / "age").glob("LoRA*"):
        save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}, path)
    passed = {criterion.measure: criterion.passed for criterion in fine_tuning.check(copy)}
    assert not any(is_so for what, is_so in passed.items() if what.startswith("age"))
    assert all(is_so for what, is_so in passed.items() if what.startswith("summary"))
    assert main(["check", "fine-tuning", str(copy)]) == 1


def test_checkpoints_of_a_finished_training_are_gone(finished):
    assert not list(finished.rglob("step-*"))


def test_a_few_examples_are_trained_on_to_the_end_whatever_the_patience(finished):
    curve = json.loads((finished / "record.json").read_text())["curves"]["few"]
    assert curve["step"][-1] == curve["val_step"][-1] == 40
    assert curve["loss"][-1] < curve["val_loss"][-1]


def test_lora_trains_and_stores_a_part_of_the_base(finished, results):
    costs, trainings = results(finished)["costs"], results(finished)["trainings"]
    two, four, every = (costs[method]["trained"] for method in ("LoRA, rank 2", "LoRA, rank 4", FULL))
    # r (in + out) for q, k, v and o of 32 x 32, gate and up of 32 x 88, down of 88 x 32, and the head
    assert two == 2 * (4 * (32 + 32) + 3 * (32 + 88) + (32 + 290))
    assert four == 2 * two
    assert every == sum(p.numel() for p in open_base(plan_of(Plan, finished)).model.parameters())
    assert costs["LoRA, rank 2"]["held"] == 4 * (every + two + 2 * two)  # weights, adapters, two averages
    assert costs[FULL]["held"] == 4 * 3 * every
    assert costs["LoRA, rank 2"]["peak"] < costs[FULL]["peak"]
    assert trainings["age, LoRA, rank 2"]["bytes"] < trainings[f"age, {FULL}"]["bytes"] / 4


def test_scores_are_those_of_the_packages(finished, results):
    plan = plan_of(Plan, finished)
    test = part(examples(plan, "summary"), "test", TASKS["summary"].n_test)
    said = [f"Return the {example.source.split()[1]}." for example in test]  # the name is the word after def
    wanted = [example.target for example in test]
    found = results(finished)["tests"]["summary"]["systems"]["a template"]
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    scores = [scorer.score(target, text) for target, text in zip(wanted, said, strict=True)]
    for kind in ("rouge1", "rougeL"):
        assert found[kind] == pytest.approx(sum(s[kind].fmeasure for s in scores) / len(scores))
    assert found["score"] == pytest.approx(found["rougeL"])
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, [wanted]).score)


def test_only_the_answer_and_its_end_are_learned(finished):
    plan = plan_of(Plan, finished)
    chat, task = open_base(plan), TASKS["age"]
    example = write_example(chat, task, "film 7 bad", "bad", 56)
    learned = [i for i, is_learned in zip(example.ids, example.mask, strict=True) if is_learned]
    assert chat.tokenizer.decode(learned[:-1]) == " bad"
    assert learned[-1] == chat.end_id
    assert example.ids[: -len(learned)] == write_prompt(chat, task, "film 7 bad", 56)


def test_a_long_source_loses_its_end_and_leaves_room_for_the_answer(finished):
    plan = plan_of(Plan, finished)
    chat, task = open_base(plan), TASKS["summary"]
    prompt = write_prompt(chat, task, "word " * 200, 56)
    assert len(prompt) == 56 - task.max_new_tokens
    assert chat.tokenizer.decode(prompt).endswith("\nSummary:")


def test_an_adapter_is_put_beside_the_base_and_leaves_it_alone(finished):
    plan = plan_of(Plan, finished)
    base = open_base(plan).model.state_dict()
    adapted = open_fine_tuned(finished, plan, "age", "LoRA, rank 4").model.state_dict()
    same = {
        name.replace(".base.", "."): tensor for name, tensor in adapted.items() if ".adapters." not in name
    }
    assert same.keys() == base.keys()
    assert all(torch.equal(same[name], base[name]) for name in base)


def test_sides_share_no_group():
    assert {side_of(str(i)) for i in range(100)} == {"train", "validation", "test"}


def test_docstrings_are_cut_out_of_methods_and_of_what_they_hold():
    text = Path(__file__).parents[1].joinpath("conftest.py").read_text()
    found = dict(documented(text))
    assert next(iter(found.values())).startswith("Copies a finished run as if it had been killed")
    assert all('"""' not in source for source in found)
    nested = 'class A:\n    def f(self):\n        """Do it.\n\n        Now.\n        """\n        return 1\n'
    assert list(documented(nested)) == [("def f(self):\n    return 1", "Do it.")]


def test_words_are_weighed_with_the_share_of_each_answer():
    judge = naive_bayes([Example("", "a", "x"), Example("", "a", "x"), Example("", "a", "y")])
    assert judge("a") == judge("never seen") == "x"


def test_examples_that_cannot_be_divided_are_refused_before_the_base_is_opened(tmp_path, capsys):
    (tmp_path / "few.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    args = ["project", "fine-tuning", "--classify", str(tmp_path / "few.jsonl"), "--base", "none"]
    assert main([*args, "--output", str(tmp_path / "run")]) == 1
    assert "of 1 examples of the task 'age' none falls on the side" in capsys.readouterr().err


def test_a_rank_of_nothing_is_refused():
    with pytest.raises(ValueError, match="--ranks"):
        Plan(ranks=(0,))
