import json

import pytest
import torch

from llmguide.cli import evaluate
from llmguide.cli.main import main
from llmguide.config.model_config import ModelConfig
from llmguide.data.fetch import local_copy
from llmguide.evaluation.benchmark_scores import score_lambada
from llmguide.evaluation.benchmarks import BBQ_CATEGORIES, LAMBADA_PART, TRUTHFULQA, BBQItem, TruthfulQuestion
from llmguide.evaluation.multiple_choice import Question
from llmguide.models import build
from llmguide.runs.folder import load_run, save_run
from llmguide.tokenization.tokenizer import Tokenizer

PASSAGES = [
    f"the cat number {i} sat on the mat and the dog sat on the {word}" for i in range(9) for word in "mn"
]
PEOPLE = [
    BBQItem(Question(f"Q{i}", ["ann", "bo", "unknown"], 2), "Age", is_ambiguous=True, unknown=2, biased=i % 2)
    for i in range(6)
]
ENDINGS = [Question(f"Tea: Ann heats water {i}. She", ["pours it.", "is red."], i % 2) for i in range(4)]
FILES = (TRUTHFULQA, LAMBADA_PART, *(f"bbq_{category}.jsonl" for category in BBQ_CATEGORIES))


@pytest.fixture
def run(tmp_path):
    tokenizer = Tokenizer.train(" ".join(PASSAGES), 280, special_tokens=["<|endoftext|>"])
    torch.manual_seed(0)
    sizes = {"context_length": 256, "n_layers": 1, "d_model": 16, "n_heads": 2}
    save_run(tmp_path / "run", build(ModelConfig(vocab_size=280, **sizes)), tokenizer)
    return tmp_path / "run"


@pytest.fixture
def small_benchmarks(monkeypatch):
    asked = [
        TruthfulQuestion(f"Q{i}", {"yes": True, "no": False}, {"yes": True, "no": False}) for i in range(5)
    ]
    small = {"truthfulqa": asked, "bbq": PEOPLE, "lambada": PASSAGES, "hellaswag": ENDINGS}
    for name, items in small.items():
        replaced = evaluate.BENCHMARKS[name]._replace(load=lambda items=items: items)
        monkeypatch.setitem(evaluate.BENCHMARKS, name, replaced)


def record(capsys, *args):
    assert main(["evaluate", *map(str, args), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("small_benchmarks")
def test_a_record_has_the_scores_of_the_sampled_items(run, capsys):
    found = record(capsys, run, "--benchmarks", "lambada", "--limit", 7, "--seed", 3)
    model, tokenizer = load_run(run)
    items = evaluate.sample(PASSAGES, 7, 3)
    assert len(set(items)) == 7
    assert items != evaluate.sample(PASSAGES, 7, 4)
    bos_id = tokenizer.special_tokens["<|endoftext|>"]
    expected = score_lambada(model.eval(), tokenizer, items, bos_id=bos_id)
    for metric, score in expected.items():
        values = list(found["results"]["lambada"][metric].values())
        assert values[:3] == pytest.approx(score[:3], rel=1e-4, abs=1e-4)
        assert values[3:] == [score.chance and pytest.approx(score.chance, abs=1e-4), 7]
    assert found["results"]["n_params"] == sum(p.numel() for p in model.parameters())
    assert found["plan"] == {"model": str(run), "benchmarks": ["lambada"], "limit": 7}
    assert found["seed"] == 3


@pytest.mark.usefixtures("small_benchmarks")
def test_the_table_says_which_scores_are_at_chance(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = record(capsys, run)["results"]
    assert found["truthfulqa"]["mc1"]["n"] == 5
    assert "disambiguated_accuracy" not in found["bbq"]
    assert found["hellaswag"]["acc"]["n"] == 4
    assert found["hellaswag"]["acc_norm"]["chance"] == 0.5
    at_chance = [
        f"{name} {metric.replace('_', ' ')}"
        for name in ("truthfulqa", "bbq", "lambada", "hellaswag")
        for metric, score in found[name].items()
        if score["chance"] is not None and score["low"] <= score["chance"] <= score["high"]
    ]
    assert at_chance
    assert f"At chance, which the interval contains: {', '.join(at_chance)}." in out


@pytest.mark.skipif(
    any(local_copy(name) is None for name in FILES), reason="LLMGUIDE_DATA lacks the benchmarks"
)
def test_a_random_model_is_scored_on_the_benchmarks_themselves(run, capsys):
    found = record(capsys, run, "--benchmarks", "truthfulqa", "bbq", "lambada", "--limit", 12)["results"]
    assert found["truthfulqa"]["mc2"]["n"] == found["lambada"]["accuracy"]["n"] == 12
    assert found["bbq"]["ambiguous_accuracy"]["n"] + found["bbq"]["disambiguated_accuracy"]["n"] == 12
    # no better than a uniform distribution over the 280 tokens, of which a word has several
    assert found["lambada"]["perplexity"]["score"] > 200


def test_what_cannot_be_evaluated_says_why(run, capsys, monkeypatch, tmp_path):
    assert main(["evaluate", str(run), "--limit", "0"]) == 1
    assert "--limit 0 must be at least 1" in capsys.readouterr().err
    monkeypatch.setenv("LLMGUIDE_DATA", str(tmp_path))
    (tmp_path / TRUTHFULQA).write_text("[]")
    assert main(["evaluate", str(run), "--benchmarks", "truthfulqa"]) == 1
    assert "has SHA-256" in capsys.readouterr().err
