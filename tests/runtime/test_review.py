"""Review cards: FSRS as Python's package computes it, and records that survive an interrupted write."""

import json
import random
from datetime import UTC, datetime, timedelta

import pytest
from fsrs import Card, Rating, Scheduler
from site_tools import DOCS, RUNTIME
from site_tools.content import course
from site_tools.tab.tab_assets import bundle
from site_tools.tab.vendor import VENDOR
from tests.runtime.node import node

from llmguide.exercises import exercises

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = (1, 23, 24, 47, 72, 24 * 30, 24 * 365)


def history(seed):
    """Ratings from 1 to 4, each with the hours since the one before."""
    draw = random.Random(seed)
    return [
        (draw.randint(1, 4), draw.choice([*HOURS, draw.randrange(24 * 365)])) for _ in range(1 + seed % 12)
    ]


def by_python(reviews):
    """Stability, difficulty and due time after each review."""
    scheduler = Scheduler(learning_steps=(), relearning_steps=(), enable_fuzzing=False)
    card, now = Card(), START
    for rating, hours in reviews:
        now += timedelta(hours=hours)
        card, _ = scheduler.review_card(card, Rating(rating), now)
        yield card.stability, card.difficulty, card.due.timestamp() * 1000


def test_cards_are_due_when_pythons_fsrs_says():
    histories = [history(seed) for seed in range(1000)]
    body = """
        return given.histories.map((reviews) => {
          let card, now = given.start;
          return reviews.map(([rating, hours]) => {
            now += hours * 3_600_000;
            card = m.review(card, rating, now);
            return [card.stability, card.difficulty, card.due];
          });
        });
    """
    found = node(VENDOR / bundle("scheduler"), body, histories=histories, start=START.timestamp() * 1000)
    for reviews, ours in zip(histories, found, strict=True):
        for (stability, difficulty, due), theirs in zip(ours, by_python(reviews), strict=True):
            assert stability == pytest.approx(theirs[0], rel=1e-6)  # ts-fsrs rounds to 8 decimals
            assert difficulty == pytest.approx(theirs[1], abs=1e-6)
            assert due == theirs[2], reviews


# ---- storage ---------------------------------------------------------------------------------------------

INTERRUPTED = """
    const stored = new Map();
    let left = Infinity; // operations until the browser dies
    let torn = 0;
    const step = () => { if (left-- <= 0) throw new Error("dead"); };
    globalThis.localStorage = {
      getItem: (key) => stored.get(key) ?? null,
      setItem(key, text) {
        if (left === 0) stored.set(key, text.slice(0, torn * text.length)); // a part of it is written
        step();
        stored.set(key, text);
      },
      removeItem(key) { step(); stored.delete(key); },
    };
    const lost = [];
    for (let trial = 0; trial < 1000; trial++) {
      const kind = ["quiz", "drafts", "cards"][trial % 3];
      const card = { stability: 1, difficulty: 5, reviewed: trial, due: trial + 1 };
      const value = { quiz: trial % 2 === 0, drafts: `x = ${trial}`, cards: card }[kind];
      left = Infinity;
      kept.change(kind, { [`before-${trial % 50}`]: value });
      const before = JSON.stringify(kept.read(kind));
      [left, torn] = given.draws[trial];
      kept.change(kind, { [`new-${trial % 50}`]: value });
      left = Infinity;
      const after = JSON.stringify(kept.read(kind));
      const whole = JSON.stringify({ ...JSON.parse(before), [`new-${trial % 50}`]: value });
      if (after !== before && after !== whole) lost.push([trial, before.length, after.length]);
    }
    return { lost, n: Object.keys(kept.read("quiz")).length };
"""


def test_an_interrupted_write_loses_nothing():
    draw = random.Random(0)
    draws = [(draw.randrange(3), draw.random()) for _ in range(1000)]
    found = node(DOCS / "js" / "storage.js", INTERRUPTED, draws=draws)
    assert found["lost"] == []
    assert found["n"] > 50


# ---- the course ------------------------------------------------------------------------------------------


def test_every_question_and_exercise_has_one_place_in_the_course():
    items = [item for chapter in course.course() for item in chapter["items"]]
    assert len(items) == len(set(items))
    graded = {item.removeprefix("exercise-") for item in items if item.startswith("exercise-")}
    questions = {question.id for chapter in course.quiz.chapters() for question in chapter.questions}
    assert graded == set(exercises())
    assert questions <= set(items)


# ---- the file to take along ------------------------------------------------------------------------------

# As version 1 of the guide wrote it. Every later version has to open it.
FIRST_FILE = """{
 "format": "llmguide progress", "version": 1, "written": "2026-11-28T21:00:00.000Z",
 "records": {
  "quiz": {"attention-cat": true, "attention-steps": false},
  "exercises": {"rope": true}, "drafts": {"rope": "def rope(x, theta):\\n    ..."},
  "ticked": {"Read sections 3.1 to 3.5.": true},
  "read": {"learn/attention": true}, "run": {"learn/attention/3": true},
  "cards": {"attention-cat": {"stability": 2.3, "difficulty": 2.1, "reviewed": 2000, "due": 172802000}}
 }
}"""

WITH_STORAGE = """
    const stored = new Map();
    globalThis.localStorage = {
      getItem: (key) => stored.get(key) ?? null,
      setItem: (key, text) => stored.set(key, text),
      removeItem: (key) => stored.delete(key),
    };
    await import(given.storage);
"""


def with_storage(body, **given):
    storage = (DOCS / "js" / "storage.js").as_uri()
    return node(RUNTIME / "review" / "file.js", WITH_STORAGE + body, storage=storage, **given)


def test_a_file_of_the_first_version_opens_and_comes_back():
    body = """
        m.add(m.parsed(given.text));
        return JSON.parse(m.exported());
    """
    written, found = json.loads(FIRST_FILE), with_storage(body, text=FIRST_FILE)
    assert found["records"] == {**written["records"], "placement": {}}


def test_what_the_browser_has_stays_but_for_older_cards():
    older, newer = ({"stability": 1, "difficulty": 1, "reviewed": time, "due": 9000} for time in (1000, 3000))
    body = """
        return given.cards.map((card) => {
          kept.change("cards", { "attention-cat": card });
          kept.change("quiz", { "attention-steps": true });
          m.add(m.parsed(given.text));
          return [kept.read("cards")["attention-cat"].reviewed, kept.read("quiz")["attention-steps"]];
        });
    """
    assert with_storage(body, text=FIRST_FILE, cards=[older, newer]) == [[2000, True], [3000, True]]


DAMAGED = [
    (FIRST_FILE[:-40], "is not complete JSON"),
    ("[]", "was not exported by this guide"),
    (FIRST_FILE.replace('"version": 1', '"version": "1"'), "does not say which version"),
    (
        FIRST_FILE.replace('"version": 1', '"version": 3'),
        "has version 3, and this page reads only up to version 2",
    ),
    (FIRST_FILE.replace('"records"', '"record"'), "has no records"),
    (FIRST_FILE.replace('"ticked"', '"tocked"'), "unknown kind, “tocked”"),
    (FIRST_FILE.replace('{"rope": true}', "[true]"), "kind “exercises” are no table"),
    (FIRST_FILE.replace('"due": 172802000', '"due": null'), "“attention-cat” in “cards” is damaged"),
]


def test_a_damaged_file_is_refused_with_the_reason():
    body = """
        return given.texts.map((text) => {
          try { m.add(m.parsed(text)); } catch (error) { return [error.message, stored.size]; }
        });
    """
    found = with_storage(body, texts=[text for text, _ in DAMAGED])
    for (message, n_stored), (_, reason) in zip(found, DAMAGED, strict=True):
        assert reason in message
        assert n_stored == 0
