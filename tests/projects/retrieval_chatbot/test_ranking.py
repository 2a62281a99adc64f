"""Words, measures and fusion, against the libraries that people use for them."""

import random

import bm25s
import pytest
import pytrec_eval
from tests.parity import assert_parity

from llmguide.projects.retrieval_chatbot.bm25 import BM25, terms
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.metrics import ndcg_at, recall_at, reciprocal_rank
from llmguide.projects.retrieval_chatbot.search import fuse
from llmguide.projects.retrieval_chatbot.vector_store import Hit

WORDS = ["ash", "beech", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine"]


def texts(n):
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(n)]


@pytest.mark.parity
def test_bm25_is_that_of_bm25s():
    known = texts(53)
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75, dtype="float64")
    peer.index([terms(text) for text in known], show_progress=False)
    for question in ("oak", "pine ash elm", "unknown fir"):
        words = [word for word in terms(question) if word in {term for text in known for term in terms(text)}]
        assert_parity(
            BM25(known).scores(question),
            peer.get_scores(words),
            of="llmguide.projects.retrieval_chatbot.bm25.BM25.scores",
            against="bm25s.BM25.get_scores",
            atol=1e-9,
        )


def test_a_rarer_word_counts_more_and_a_repeated_one_ever_less():
    scores = BM25(["oak oak pine", "oak elm pine", "oak fir pine", "oak oak oak"]).scores
    assert scores("elm")[1] > scores("pine")[1] > scores("oak")[1] > 0
    one, two, three = (scores("oak")[i] for i in (1, 0, 3))
    assert two - one > three - two > 0


def test_a_word_that_nobody_has_changes_nothing_and_no_text_is_no_error():
    assert BM25(["oak"]).scores("larch").tolist() == [0.0]
    assert BM25([]).scores("larch").tolist() == []


@pytest.mark.parity
def test_measures_are_those_of_trec_eval():
    draw = random.Random(1)
    ids = [str(i) for i in range(30)]
    for _ in range(20):
        ranking, wanted = draw.sample(ids, 20), set(draw.sample(ids, draw.randint(1, 12)))
        judged = {"q": dict.fromkeys(wanted, 1)}
        run = {"q": {name: 1.0 - rank / 100 for rank, name in enumerate(ranking)}}
        evaluator = pytrec_eval.RelevanceEvaluator(judged, {"recall.1,5", "recip_rank", "ndcg_cut.10"})
        theirs = evaluator.evaluate(run)["q"]
        for name, of, ours in (
            ("recall_1", "recall_at", recall_at(1, ranking, wanted)),
            ("recall_5", "recall_at", recall_at(5, ranking, wanted)),
            ("recip_rank", "reciprocal_rank", reciprocal_rank(ranking, wanted)),
            ("ndcg_cut_10", "ndcg_at", ndcg_at(10, ranking, wanted)),
        ):
            assert_parity(
                ours,
                theirs[name],
                of=f"llmguide.projects.retrieval_chatbot.metrics.{of}",
                against=f"pytrec-eval-terrier.{name}",
                atol=1e-9,
            )


def test_what_has_no_relevant_passage_cannot_be_measured():
    for measure in (reciprocal_rank, lambda r, w: recall_at(1, r, w), lambda r, w: ndcg_at(1, r, w)):
        with pytest.raises(ValueError, match="no item is relevant"):
            measure(["a"], set())


def test_fusion_prefers_what_both_rankings_have():
    chunks = [Chunk(name, "", 0, 1, name) for name in "abcdef"]
    one = [Hit(chunk, 1.0) for chunk in chunks[:4]]
    two = [Hit(chunk, 1.0) for chunk in (chunks[4], chunks[3], chunks[5])]
    assert fuse([one, two])[0].chunk.text == "d"  # 1/64 + 1/62 is more than 1/61
    assert fuse([one])[2].chunk.text == "c"
    assert fuse([[], []]) == []


def test_words_that_only_make_a_question_do_not_count():
    assert terms("How do I do what you would do there?") == []
    scores = BM25(["how to do what you will", "copy files"]).scores("How do I copy a file?")
    assert scores[0] == 0.0 < scores[1]
