"""The questions that find a reader's place: their items, and simulated readers."""

import random

from site_tools import RUNTIME
from site_tools.content import placement
from site_tools.content.course import course
from tests.runtime.node import node

PLACEMENT = placement.placement()
N_RUNGS = len(placement.LADDER)
SIMULATE = """
    return given.readers.map(({ order, knows, chances }) => {
      const items = order.map((index) => given.items[index]);
      const draw = new Map(order.map((index, i) => [given.items[index].id, chances[i]]));
      const answers = [];
      for (let item; (item = m.next(items, given.n, answers));) {
        const right = draw.get(item.id) < (knows[item.rung] ? 0.9 : 1 / item.options); // slips and guesses
        answers.push([item, right]);
      }
      return [m.best(m.posterior(given.n, answers)), answers.length];
    });
"""


def placed_within_one(n_readers: int, gap: float) -> float:
    """Fraction of simulated readers whose place is at most one rung off.

    Reader i knows the first i mod 11 rungs, but for each rung the opposite holds with probability ``gap``.
    """
    draw = random.Random(0)
    states = [i % (N_RUNGS + 1) for i in range(n_readers)]
    readers = [
        {
            "order": draw.sample(range(len(PLACEMENT["items"])), len(PLACEMENT["items"])),
            "knows": [(rung < known) != (draw.random() < gap) for rung in range(N_RUNGS)],
            "chances": [draw.random() for _ in PLACEMENT["items"]],
        }
        for known in states
    ]
    ladder = RUNTIME / "review" / "ladder.js"
    found = node(ladder, SIMULATE, items=PLACEMENT["items"], n=N_RUNGS, readers=readers)
    assert max(n_asked for _, n_asked in found) <= 15
    return sum(abs(place - known) <= 1 for (place, _), known in zip(found, states, strict=True)) / n_readers


def test_nine_of_ten_simulated_readers_are_placed_within_one_step():
    assert placed_within_one(200, gap=0) >= 0.9


def test_most_readers_with_gaps_are_placed_within_one_step():
    assert placed_within_one(200, gap=0.1) >= 0.7


def test_the_posterior_is_that_of_bayes_rule():
    """By hand, with one rung: a right answer is 0.9 likely from who knows it, 0.25 from who guesses."""
    item = {"id": "a", "rung": 0, "options": 4}
    right, wrong = node(
        RUNTIME / "review" / "ladder.js",
        "return [true, false].map((right) => m.posterior(1, [[given.item, right]])[1]);",
        item=item,
    )
    assert abs(right - 0.9 / (0.9 + 0.25)) < 1e-12
    assert abs(wrong - 0.1 / (0.1 + 0.75)) < 1e-12


def test_the_path_has_the_chapters_of_the_guide_in_reading_order():
    pages = [step["page"] for step in PLACEMENT["steps"]]
    assert pages == [chapter["page"] for chapter in course()][: len(pages)]
    starts = [pages.index(page) for page in PLACEMENT["start"]]
    assert starts == sorted(set(starts))
    assert starts[0] == 0


def test_every_rung_has_questions_with_options_to_guess_from():
    items = PLACEMENT["items"]
    assert all(3 <= item["options"] <= 5 for item in items)
    assert min(sum(item["rung"] == rung for item in items) for rung in range(N_RUNGS)) >= 4
