"""The pipeline of the play page, with PyTorch: what it reports, and that no method passes the frontier."""

import importlib.util
import sys
from math import log
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.runtime.node import WIDGETS

from llmguide.post_training.toy.world import tiny_world

STEPS = 4


@pytest.fixture(scope="module")
def reports() -> list[dict[str, Any]]:
    """All that one short run hands to the page."""
    found: list[dict[str, Any]] = []
    session = ModuleType("session")  # the tab's, whose emit() reaches the page
    session.emit = found.append  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("pipeline", WIDGETS / "pipeline.py")
    assert spec is not None
    assert spec.loader is not None
    pipeline = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "session", session)
        spec.loader.exec_module(pipeline)
        patch.setattr(pipeline, "SUPERVISED", 10)
        with torch.random.fork_rng():
            pipeline.live(
                seed=0,
                n_steps=STEPS,
                methods=["best-of-n", "PPO", "GRPO", "DPO"],
                flawed=False,
                beta=0.1,
                kl_coef=0.1,
            )
    return found


def points(reports: list[dict[str, Any]], method: str) -> list[dict[str, float]]:
    return [report["point"] for report in reports if report.get("method") == method]


def test_every_stage_shows_its_loss(reports: list[dict[str, Any]]) -> None:
    steps = [(report["stage"], report["step"]) for report in reports if "loss" in report]
    stages = ("pre-training", "fine-tuning", "reward model")
    assert steps == [(stage, step) for stage in stages for step in (5, 10)]
    losses = [report["loss"] for report in reports if "loss" in report]
    # eight words, of which a new model is as good as ignorant; two answers, of which it prefers neither
    assert losses[0] == pytest.approx(log(8), rel=0.1)
    assert losses[-1] == pytest.approx(log(2), rel=0.5)


def test_answers_come_after_each_stage_and_method(reports: list[dict[str, Any]]) -> None:
    said = {report["stage"]: report for report in reports if "says" in report}
    assert list(said) == ["pre-training", "fine-tuning", "PPO", "GRPO", "DPO"]
    for report in said.values():
        assert [answer["prompt"] for answer in report["says"]] == ["cat", "dog", "sleeps", "barks"]
        assert all(0 < answer["p"] <= 1 for answer in report["says"])
        assert report["gold"] <= tiny_world().gold.max()


@pytest.mark.parametrize("method", ["best-of-n", "PPO", "GRPO", "DPO"])
def test_paths_start_at_the_reference_and_stay_below_the_frontier(
    reports: list[dict[str, Any]], method: str
) -> None:
    frontier = next(report["frontier"] for report in reports if "frontier" in report)
    path = points(reports, method)
    assert len(path) == (11 if method == "best-of-n" else STEPS + 1)
    assert path[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert path[0]["gold"] == pytest.approx(frontier[0]["gold"], abs=1e-5)
    for point in path:
        # a concave curve lies above its chords, so it must only be compared where the frontier has points
        reachable = [best["gold"] for best in frontier if best["kl"] >= point["kl"]]
        assert not reachable or point["gold"] <= reachable[0] + 1e-5
