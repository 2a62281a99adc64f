"""The parts of the assignments: every solution passes, every mistake is named, and the values are right."""

import math
import random
from pathlib import Path

import pytest
import torch
from tests.seed import SEED

from llmguide.exercises.grading import exercises, grade_exercise
from llmguide.post_training.datasets import TextPair
from llmguide.projects.assignments import NAMES, assignment_of
from llmguide.projects.assignments.assignment import OWN, part_of
from llmguide.projects.instruction_tuning.data import HELD_OUT
from llmguide.projects.instruction_tuning.evaluation import held_out_prompts
from llmguide.projects.instruction_tuning.models import Plan
from llmguide.projects.instruction_tuning.types import TYPES
from llmguide.projects.rlhf.data import Plan as RLHFPlan
from llmguide.projects.rlhf.data import splits

MISTAKES = [(part, mistake) for part in OWN.values() for mistake in part.mistakes]


@pytest.mark.parametrize("part", OWN.values(), ids=OWN)
def test_the_solution_passes_and_is_not_solved_by_the_stub(part):
    assert grade_exercise(part, part.solution).passed

    def stub(*_):
        raise NotImplementedError

    assert grade_exercise(part, stub).message == f"{part.name}: not written yet."


@pytest.mark.parametrize(("part", "mistake"), MISTAKES, ids=[f"{p.name}: {m.name}" for p, m in MISTAKES])
def test_a_mistake_fails_and_is_named(part, mistake):
    grade = grade_exercise(part, mistake.mutant)
    assert (grade.passed, grade.mistake) == (False, mistake.name)
    assert mistake.hint in grade.message


def test_every_part_of_an_assignment_names_at_least_two_mistakes():
    for name in NAMES:
        for part in assignment_of(name).parts.values():
            assert len(part.mistakes) >= 2, part.name
    assert not set(OWN) & set(exercises())


@pytest.mark.parametrize("name", NAMES)
def test_the_pages_state_the_hours_of_an_assignment(name):
    hours = f"{sum(step.hours for step in assignment_of(name).steps):g} hours"
    pages = Path(__file__).parents[3] / "docs" / "projects"
    assert f"an assignment that takes about {hours}. " in (pages / f"{name}.md").read_text()
    [row] = [line for line in (pages / "index.md").read_text().splitlines() if f"]({name}.md)**" in line]
    assert f"| {hours} |" in row


@pytest.mark.parametrize("name", NAMES)
def test_the_rubric_states_what_the_check_requires(name):
    assert not any("check passes. " in one.passing for one in assignment_of(name).deliverables)


def test_the_validation_pairs_of_a_reward_model_share_no_text_with_its_training_pairs(monkeypatch):
    draw = random.Random(SEED)
    pairs = [
        TextPair([], "", "", tuple(draw.sample([f"movies:{i}" for i in range(300)], 2))) for _ in range(999)
    ]
    monkeypatch.setattr("llmguide.projects.reward_model.data.training_pairs", lambda *_, **__: pairs)
    namespace = {}
    exec(assignment_of("reward-model").data, namespace)
    train, validation = (
        {unit for pair in namespace[f"{side}_pairs"] for unit in pair.units}
        for side in ("train", "validation")
    )
    assert train
    assert validation
    assert not train & validation


def test_the_goal_of_instruction_tuning_counts_its_types():
    words = {4: "four", 11: "eleven"}
    goal = assignment_of("instruction-tuning").goal
    assert f"{words[len(TYPES) - len(HELD_OUT)]} tasks" in goal
    assert f"{words[len(HELD_OUT)]} held-out tasks" in goal


def test_the_specification_of_instruction_tuning_counts_its_prompts():
    contract = assignment_of("instruction-tuning").contract
    assert f"There are {len(held_out_prompts(Plan()))} prompts." in contract


def test_zeros_after_the_end_make_shorter_completions_right():
    rewards, values = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(SEED))
    padded = [torch.nn.functional.pad(part, (0, 2)) for part in (rewards, values)]
    alone = part_of("gae").solution(rewards, values, 0.9, 0.8)
    assert torch.allclose(part_of("gae").solution(*padded, 0.9, 0.8)[:, :3], alone)


def test_the_data_of_rlhf_are_split_by_text():
    data = splits(RLHFPlan(), seed=0)
    seen = {unit for pair in data.comparisons for unit in pair.units}
    assert len(seen) < 2 * len(data.comparisons)  # a text occurs in several comparisons
    for pairs in (data.held_out, data.other_comparisons):
        assert not seen & {unit for pair in pairs for unit in pair.units}


def test_every_part_belongs_to_an_assignment():
    used = {name for project in NAMES for step in assignment_of(project).steps for name in step.parts}
    assert set(OWN) <= used


def test_the_training_loop_equals_sgd_of_torch():
    w, batches, loss, lr = part_of("train-loop").probes()[0]
    mine = w.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([mine], lr=lr)
    for batch in batches:
        optimizer.zero_grad()
        loss(mine, batch).backward()
        optimizer.step()
    assert torch.allclose(part_of("train-loop").solution(w, batches, loss, lr), mine.detach())


def test_a_resumed_training_ends_where_an_uninterrupted_one_does():
    torch.manual_seed(SEED)
    resume, batches = part_of("resume").solution, list(torch.randn(7, 3))
    start = (0, torch.randn(3), torch.zeros(3))
    half = resume(start, batches[:4], 0.1)
    whole, resumed = resume(start, batches, 0.1), resume(half, batches, 0.1)
    assert whole[0] == resumed[0] == 7
    assert torch.allclose(whole[1], resumed[1])


def test_ranks_read_every_example_of_an_epoch_once():
    order = [5, 3, 1, 0, 2, 4, 7, 6, 9, 8, 11, 10]
    batches = [
        part_of("rank-batch").solution(order, step, 2, rank, 3) for step in (0, 1) for rank in (0, 1, 2)
    ]
    assert sum(batches, []) == order  # noqa: RUF017  # six short lists


@pytest.mark.parametrize(
    ("name", "arguments", "wanted"),
    [
        ("character-encode", ("abba!", "ab"), [2, 3, 3, 2, 1]),  # the doctest of Characters
        ("character-decode", ([2, 3, 1], "ab"), "ab\ufffd"),
        ("bits-per-byte", (8 * math.log(2), "four"), 2.0),
        ("mixing-rates", ([900, 100], 2.0), [0.75, 0.25]),  # 30 to 10
        ("pair-accuracy", ([1.0, 0.0], [1.0, 1.0]), 0.25),
        ("choose-continuation", ([-10.0, -12.0], [10, 30]), 1),
        ("extrapolate-loss", (1.0, 4.0, 4.0, 2.0, 16.0), 1.0),  # halves for each factor of four
        ("best-step", ([3.0, 1.0, 2.0, 2.0, 0.5], 2), 1),
        (
            "abstention-rates",
            (["a", "I do not know that name.", "I do not know that name."], ["a", "b", None]),
            (0.5, 0.5, 1.0),
        ),
        ("easy-first", ([("b", 2.0), ("a", 1.0), ("c", 3.0)], 0, 2), ["a", "b"]),
    ],
)
def test_values_by_hand(name, arguments, wanted):
    assert part_of(name).solution(*arguments) == pytest.approx(wanted)
