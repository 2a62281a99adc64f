import random

import pytest

from llmguide.data.documents import Document
from llmguide.projects.retrieval_chatbot import evaluation
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.evaluation import (
    compare_chunking,
    evaluate_abstention,
    evaluate_retrieval,
    halves,
)
from llmguide.projects.retrieval_chatbot.questions import Question
from llmguide.projects.retrieval_chatbot.search import Search
from llmguide.projects.retrieval_chatbot.vector_store import Hit


class Told(Search):
    """A search whose rankings are given: one passage a question, of its number, or the wrong one."""

    def __init__(self, n, wrong=()):  # without an index
        self.chunks = [Chunk("d", "", i, i, f"answer {i} is this") for i in range(n)]
        self.wrong = wrong

    def __call__(self, question, k, way="both"):
        i = int(question)
        order = [i, *(j for j in range(len(self.chunks)) if j != i)]
        if i in self.wrong and way != "words":
            order[0], order[1] = order[1], order[0]
        return [Hit(self.chunks[j], 1.0) for j in order[:k]]

    def nearest(self, question):
        return 0.9 if question.isdigit() else 0.1


QUESTIONS = [Question(str(i), f"answer {i} is this", "answered") for i in range(40)]


def test_a_perfect_ranking_scores_one_and_chance_what_chance_does():
    ways = evaluate_retrieval(Told(40), QUESTIONS, seed=0)["ways"]
    assert all(score["score"] == 1.0 for score in ways["both"].values())
    assert ways["chance"]["recall@1"]["score"] < 0.2


def test_a_passage_at_rank_two_costs_what_it_must():
    measured = evaluate_retrieval(Told(40, wrong={0, 1, 2, 3}), QUESTIONS, seed=0)
    assert measured["ways"]["words"]["recall@1"]["score"] == 1.0
    assert measured["ways"]["both"]["recall@1"]["score"] == pytest.approx(0.9)
    assert measured["ways"]["both"]["MRR"]["score"] == pytest.approx(0.95)  # four of forty at 1/2
    assert measured["both_over"]["words"]["recall@1"]["score"] == pytest.approx(-0.1)
    assert measured["both_over"]["meaning"]["recall@1"]["score"] == 0.0
    assert measured["both_over"]["words"]["recall@5"] == {"score": 0.0, "low": 0.0, "high": 0.0}


def test_an_answer_that_no_passage_holds_counts_against_the_ranking():
    lost = [*QUESTIONS[:39], QUESTIONS[39]._replace(quote="nowhere")]
    measured = evaluate_retrieval(Told(40), lost, seed=0)
    assert measured["cut_apart"] == 1
    assert measured["ways"]["both"]["recall@5"]["score"] == pytest.approx(39 / 40)


def test_a_gate_that_can_tell_lets_through_what_is_answered_alone():
    others = [Question(f"far {i}", "", "far") for i in range(10)]
    measured = evaluate_abstention(Told(40), [*QUESTIONS, *others], seed=0)
    assert measured["through"]["answered"]["score"] == 1.0
    assert measured["through"]["far"]["score"] == 0.0
    assert measured["separated"] == 1.0
    assert 0.1 < measured["gate"] < 0.9


def test_a_gate_is_not_judged_on_the_questions_that_it_was_fitted_on():
    draw = random.Random(0)

    class Blind(Told):
        def nearest(self, question):
            return near[question]

    questions = [*QUESTIONS, *(Question(f"far {i}", "", "far") for i in range(40))]
    near = {question.text: draw.random() for question in questions}
    measured = evaluate_abstention(Blind(40), questions, seed=0)
    through = measured["through"]
    assert abs(through["answered"]["score"] - through["far"]["score"]) < 0.3  # by chance, both alike
    assert 0.3 < measured["separated"] < 0.7


def test_halves_hold_each_question_once_and_another_seed_divides_otherwise():
    one, other = halves(QUESTIONS, 0)
    assert sorted([*one, *other]) == sorted(QUESTIONS)
    assert {*halves(QUESTIONS, 1)[0]} != {*one}


def test_windows_cut_answers_apart_that_structure_keeps(monkeypatch):
    entries = [
        f"Entry {i}\n{'=' * 8}\n\nWord {i} stands for the thing number {i}. " + "x " * 60 for i in range(40)
    ]
    documents = [Document("\n\n".join(entries), "d", "")]
    asked = [
        Question(f"word {i}", f"Word {i} stands for the thing number {i}.", "answered") for i in range(40)
    ]
    measured = compare_chunking(documents, asked)
    assert measured["structure, 800"]["cut_apart"] == 0
    assert measured["structure, 800"]["held"]["score"] == 1.0
    monkeypatch.setattr(evaluation, "READ", 10)
    assert compare_chunking(documents, asked)["structure, 800"]["held"]["score"] == 0.0
