import random
import shutil

import pytest
import torch
from tests.seed import SEED

from llmguide.cli.main import main
from llmguide.models import build
from llmguide.projects.small_lm import evaluation
from llmguide.projects.small_lm import project as small_lm
from llmguide.projects.small_lm.evaluation import continuations, endings
from llmguide.projects.small_lm.scaling import Plan, extrapolate, flops_per_token
from llmguide.runs.folder import load_run, save_run

PEOPLE, PLACES = ["The farmer", "Her brother", "An old judge"], ["the market", "a green hill", "the river"]


def sentence(draw):
    a, b = draw.choice(PEOPLE), draw.choice(PLACES)
    return f"{a} went early to {b} and came back late from {b} with bread and news. "


@pytest.fixture(scope="module", autouse=True)
def short_tests():
    """Fewer batches and questions."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (small_lm, evaluation):
            patch.setattr(module, "EVAL_BATCHES", 10)
        patch.setattr(evaluation, "N_QUESTIONS", 40)
        patch.setattr(evaluation, "HELD_OUT_CHARACTERS", 10_000)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    draw = random.Random(SEED)
    documents = ["".join(sentence(draw) for _ in range(30)) for _ in range(60)]
    (folder / "text.txt").write_text("\n\n".join(documents))
    args = ["project", "small-lm", "--corpus", str(folder / "text.txt"), "--output", str(folder / "whole")]
    sizes = ["--n-layers", *"1111", "--d-model", "8", "12", "16", "32", "--vocab-size", "280"]
    steps = ["--context-length", "32", "--n-steps", "60", "--batch-size", "8", "--lr", "0.01"]
    assert main([*args, *sizes, *steps, "--seed", str(SEED)]) == 0
    return folder / "whole"


def verdicts(folder):
    return {criterion.measure: criterion.passed for criterion in small_lm.check(folder)}


def test_a_run_is_recorded_and_its_larger_models_are_better(finished, results):
    found = results(finished)
    losses = [size["loss"] for size in found["sizes"].values()]
    assert losses == sorted(losses, reverse=True)
    assert found["scores"]["lost"] == 0
    best, difference = found["scores"]["best n-gram"], found["scores"]["model minus n-gram"]
    assert best["score"] <= min(found["scores"]["counts"].values()) + 0.01  # no line feeds between texts
    assert difference["score"] == pytest.approx(found["scores"]["bits_per_byte"] - best["score"])
    assert found["scores"]["last_word"]["acc"] > 0.3  # from few words
    assert found["stability"]["10"]["stopped"].startswith("step ")
    settings = found["speed"]["settings"]
    assert settings["float32, recomputed"]["kept_mb"] < settings["float32"]["kept_mb"]
    assert settings["float32, recomputed"]["loss"] == pytest.approx(settings["float32"]["loss"], abs=1e-4)
    assert settings["bfloat16"]["loss"] == pytest.approx(settings["float32"]["loss"], abs=0.05)
    passed = verdicts(finished)
    assert passed["texts that the tokenizer does not give back"]
    assert passed["smallest reduction of the loss from size to size"]


def test_a_largest_model_without_training_fails(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "copy")
    model, tokenizer = load_run(copy / "size-3")
    torch.manual_seed(SEED)
    save_run(copy / "size-3", build(model.config), tokenizer)
    passed = verdicts(copy)
    assert not passed["smallest reduction of the loss from size to size"]
    assert not passed["relative error of the extrapolated loss"]
    assert main(["check", "small-lm", str(copy)]) == 1


def test_the_law_is_fitted_without_the_size_that_it_foretells():
    plan = Plan(n_layers=(1, 1, 1, 1), d_model=(32, 48, 64, 96))
    compute = [flops_per_token(plan, i) for i in range(4)]
    losses = [3.0 + 2.0 * (c / compute[0]) ** -0.4 for c in compute]
    found = extrapolate(plan, [*losses[:3], 1.0])
    assert found["floor"] == pytest.approx(3.0, abs=0.02)
    assert found["exponent"] == pytest.approx(0.4, abs=0.02)
    assert found["foretold"] == pytest.approx(losses[3], abs=0.01)
    assert found["found"] == 1.0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": (32, 48, 64)}, r"--d-model \(32, 48, 64\) must name as many sizes"),
        ({"n_layers": (2, 2, 2), "d_model": (32, 48, 64)}, "four or more"),
        ({"head_dim": 0}, "--head-dim 0 must be at least 1"),
    ],
)
def test_sizes_without_a_law_are_refused_before_they_are_trained(sizes, message):
    with pytest.raises(ValueError, match=message):
        Plan(**sizes)


def test_questions_have_their_answer_among_the_choices():
    draw = random.Random(1)
    text = "".join(sentence(draw) for _ in range(40))
    for question in continuations([text], 20):
        assert f"{question.context} {question.choices[question.answer]} " in text
        assert len(question.choices) == 4
    assert all(passage in text and not passage.endswith(".") for passage in endings([text], 20))
