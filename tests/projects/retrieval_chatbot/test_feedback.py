"""Votes train a reranker: the fit against scipy, held-out questions, and the command and the application."""

import json
import math
import random
from contextlib import closing

import numpy as np
import pytest
import scipy.optimize
from tests.projects.retrieval_chatbot.toy import ANIMALS, make_bert, make_world

from llmguide.cli.main import main
from llmguide.projects.retrieval_chatbot.answer import N_PASSAGES
from llmguide.projects.retrieval_chatbot.app import Reader, ask
from llmguide.projects.retrieval_chatbot.feedback import Vote, read_votes, simulate_votes
from llmguide.projects.retrieval_chatbot.project import RERANKER, open_reranker, open_search
from llmguide.projects.retrieval_chatbot.questions import load_questions
from llmguide.projects.retrieval_chatbot.rerank import FEATURES, best_passages, find_candidates, fit
from llmguide.projects.webapp.forms import Form
from llmguide.projects.webapp.store import Store

N = len(FEATURES)


def test_the_weights_minimize_the_loss_of_the_docstring():
    rng = np.random.default_rng(0)
    answers = [rng.normal(size=(rng.integers(1, 3), N)) for _ in range(60)]
    liked = [bool(answer[:, 0].max() + rng.normal() > 0.3) for answer in answers]
    x = np.concatenate(answers)
    mean, deviation = x.mean(0), x.std(0)

    def loss(parameters):
        total = (parameters[:-1] ** 2).sum() / 2
        for answer, is_liked in zip(answers, liked, strict=True):
            p = 1 / (1 + np.exp(-((answer - mean) / deviation @ parameters[:-1] + parameters[-1])))
            like = 1 - np.prod(1 - p)
            total -= math.log(like if is_liked else 1 - like)
        return total

    best = scipy.optimize.minimize(loss, np.zeros(N + 1))
    found = fit([answer.tolist() for answer in answers], liked)
    assert [*found.weights, found.bias] == pytest.approx(best.x, abs=1e-3)
    assert found.weights[0] == max(found.weights)


def test_votes_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="collect likes and dislikes"):
        fit([[[0.0] * N]], [True])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    documents, questions = make_world(folder)
    bert = folder / "bert"
    bert.mkdir()
    make_bert(bert)
    options = ("--documents", documents, "--questions", questions, "--embedder", bert)
    return questions, ["project", "retrieval-chatbot", *map(str, options)]


@pytest.fixture(scope="module")
def learned(world, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "learned"
    assert main([*world[1], "--feedback", "simulated", "--output", str(run)]) == 0
    return run


def test_simulated_votes_improve_answers_to_held_out_questions(learned, results):
    found = results(learned)["feedback"]
    scores = found["scores"]
    assert found["n_questions"] == len(ANIMALS)
    assert 0 < found["n_liked"] < found["n_votes"]
    assert scores["right before"]["score"] == pytest.approx(results(learned)["said"]["right"]["score"])
    assert scores["right over before"]["low"] > 0
    gain = scores["right after"]["score"] - scores["right before"]["score"]
    assert scores["right over before"]["score"] == pytest.approx(gain)
    assert json.loads((learned / RERANKER).read_text())["weights"] == pytest.approx(
        list(found["weights"].values()), abs=1e-3
    )


def test_the_application_uses_the_reranker_and_reads_on_if_asked_again(learned):
    search, gate = open_search(learned)
    with closing(search.index):
        question = "How long does the otter sleep?"
        pool = find_candidates(search, question)
        reranker = open_reranker(learned)
        order = best_passages(pool, reranker(pool))
        for one, expected in ((reranker, order), (None, [hit.chunk for hit in search(question, 12)])):
            reader = Reader(search, gate - 2, one, None)
            for attempt in (0, 1):
                form = Form(json.dumps({"question": question, "attempt": attempt}).encode())
                shown = [passage["text"] for passage in ask(form, reader).settings["passages"]]
                first = N_PASSAGES * attempt
                assert shown == [chunk.text for chunk in expected[first : first + N_PASSAGES]]
        again = Form(json.dumps({"question": question, "attempt": 4}).encode())
        assert ask(again, reader).settings["passages"][0]["text"] == order_of(search, question)[0]


def order_of(search, question):
    return [hit.chunk.text for hit in search(question, N_PASSAGES)]


def test_users_votes_train_it_and_those_on_test_questions_are_left_out(
    world, learned, tmp_path, results, capsys
):
    questions = [question for question in load_questions(world[0]) if question.quote]
    search, _ = open_search(learned)
    with closing(search.index):
        asked = [question._replace(text=f"Tell me: {question.text}") for question in questions]
        pools = {question: find_candidates(search, question.text) for question in asked}
        rankings = {question: best_passages(pool, [0] * len(pool)) for question, pool in pools.items()}
        votes = simulate_votes(pools, rankings, seed=0)
    url = f"sqlite:///{tmp_path / 'app.sqlite'}"
    command = [*world[1], "--feedback", url, "--output", str(tmp_path / "run")]
    assert main(command) == 1
    assert "collect likes and dislikes" in capsys.readouterr().err
    store = Store(url, "retrieval-chatbot")
    document = store.add_document("talk", "")
    misleading = [
        Vote(question.text, vote.answer, not vote.liked) for question in questions for vote in votes[:3]
    ]
    for vote in [*votes, *misleading]:
        answer = store.begin(document, {}, {"question": vote.question, "passages": []})
        store.append(answer, vote.answer)
        store.rate(answer, 1 if vote.liked else -1, "")
    withdrawn = store.begin(document, {}, {"question": "Why?", "passages": []})
    store.append(withdrawn, "So.")
    store.rate(withdrawn, 0, "")
    store.close()
    assert read_votes(url, "retrieval-chatbot") == [*votes, *misleading]
    assert main(command) == 0
    found = results(tmp_path / "run")["feedback"]
    assert found["n_votes"] == len(votes)
    assert found["scores"]["right over before"]["low"] > 0


def test_a_tenth_of_the_simulated_votes_is_wrong(learned, world):
    [question] = random.Random(0).sample([q for q in load_questions(world[0]) if q.quote], 1)
    search, _ = open_search(learned)
    with closing(search.index):
        pool = find_candidates(search, question.text)
    n, wrong = 0, 0
    for seed in range(300):
        for vote in simulate_votes({question: pool}, {question: best_passages(pool, [0] * len(pool))}, seed):
            n += 1
            wrong += vote.liked != (question.quote in vote.answer)
    assert 0.07 < wrong / n < 0.13
