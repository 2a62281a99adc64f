import pytest

from llmguide.coding.client import Endpoint, Response
from llmguide.data.cleaning.dedup import plain_words
from llmguide.projects.domain_expert.benchmark import benchmark
from llmguide.projects.domain_expert.dataset import (
    SHARED,
    conversations,
    curated,
    fault,
    unfit,
    write_questions,
)
from llmguide.projects.domain_expert.facts import Fact, names
from llmguide.projects.domain_expert.off_topic import NEW_TOPICS
from llmguide.projects.domain_expert.templates import (
    INVENTED,
    LANGUAGES,
    NEW_OTHER,
    NEW_WORDS,
    NOT_HERE,
    OTHER,
    OUTSIDE,
    QUESTIONS,
    UNKNOWN,
    UNREAD,
    side_of,
)


@pytest.fixture(scope="module")
def found():
    return curated(200)


@pytest.fixture(scope="module")
def benchmark_pairs(found):
    return benchmark(found.known, found.unread, 20)


def ngrams(text):
    words = plain_words(text)
    return {tuple(words[i : i + SHARED]) for i in range(len(words) - SHARED + 1)}


def test_names_are_on_one_side(found):
    known, unknown, unread = ({fact.name for fact in part} for part in found[:3])
    assert not known & unknown
    assert not known & unread
    assert not unknown & unread
    assert {side_of(name) for name in known} == {"asked", "told"}


def test_the_training_holds_nothing_of_the_benchmark(found, benchmark_pairs):
    pairs, _ = conversations(found, [], benchmark_pairs)
    learned = [pair for some in pairs.values() for pair in some]
    assert not {p.question for p in learned} & {p.question for p in benchmark_pairs}
    told = {fact.name for fact in found.known if side_of(fact.name) == "told"}
    assert not {pair.name for pair in learned if pair.answer != OUTSIDE} & told
    assert not {pair.name for pair in learned} & {fact.name for fact in found.unread}
    asked = [f for f in found.known if f.relation == "summary"]
    held_out = set().union(*(ngrams(f.value) for f in asked if side_of(f.name) == "told"))
    assert not any(ngrams(f.value) & held_out for f in asked if side_of(f.name) == "asked")


def test_new_words_are_new(found, benchmark_pairs):
    pairs, _ = conversations(found, [], benchmark_pairs)
    for pair in (pair for pair in benchmark_pairs if pair.kind == NEW_WORDS):
        before, _, after = QUESTIONS[pair.about][-1].partition("{0}")
        assert pair.question.startswith(before)
        assert pair.question.endswith(after)
    for relation, wordings in QUESTIONS.items():
        assert len(set(wordings)) == len(wordings)
        shown = [p.question for p in pairs["known"] if p.about == relation]
        before, _, after = wordings[-1].partition("{0}")
        assert not any(q.startswith(before) and q.endswith(after) for q in shown if before)


def test_what_is_outside_or_made_up_is_new_in_the_benchmark(found, benchmark_pairs):
    pairs, counts = conversations(found, [], benchmark_pairs)
    tested = {kind: [pair for pair in benchmark_pairs if pair.kind == kind] for kind in (INVENTED, *NOT_HERE)}
    learned = {pair.name for pair in pairs["other topics"]}
    assert not {pair.name for kind in (OTHER, NEW_OTHER) for pair in tested[kind]} & learned
    assert not {pair.name for pair in tested[INVENTED]} & {pair.name for pair in pairs["unknown"]}
    for language in ("Rust", "Haskell"):
        assert any(language in pair.question for pair in tested[LANGUAGES])
        assert not any(language in pair.question for pair in pairs["other languages"])
    for _, topic in NEW_TOPICS:
        before, _, after = topic.partition("{0}")
        questions = [pair.question for pair in pairs["other topics"]]
        assert not any(q.startswith(before) and q.endswith(after) for q in questions)
    assert counts["unknown"] == len(pairs["unknown"])


def test_what_cannot_be_known_is_to_be_admitted(benchmark_pairs):
    for pair in benchmark_pairs:
        assert (pair.answer == UNKNOWN) == (pair.kind in {UNREAD, INVENTED})
        assert bool(pair.truth) == (pair.kind == UNREAD)
    assert not {pair.name for pair in benchmark_pairs if pair.kind == INVENTED} & set(names())


def test_known_names_are_turned_down_in_other_languages(benchmark_pairs):
    assert all(pair.answer == OUTSIDE for pair in benchmark_pairs if pair.kind == LANGUAGES)
    assert {side_of(pair.name) for pair in benchmark_pairs if pair.kind == LANGUAGES} == {"told"}


@pytest.mark.parametrize(
    ("summary", "reason"),
    [
        ("Return it.", "too short"),
        ("Return the " + "very " * 12 + "best.", "too long"),
        ("Return the value of `x`.", "no plain sentence"),
        ("return the value of it.", "no plain sentence"),
        ("Return the value of it", "no plain sentence"),
        ("Where peek comes from.", "gives the name away"),
        ("Return the value of it.", None),
    ],
)
def test_a_summary_must_be_a_sentence_that_asks(summary, reason):
    assert fault(Fact("summary", "peek", summary)) == reason


def test_every_summary_is_kept_or_counted(found):
    kept = sum(fact.relation == "summary" for fact in found.known)
    counts = dict(found.counts)
    all_of_them = counts.pop("summaries")
    assert 0 < kept <= all_of_them - sum(counts.values())  # the rest is of names that are not read about
    assert len({fact.value for fact in found.known if fact.relation == "summary"}) == kept


def test_names_must_be_enough():
    with pytest.raises(ValueError, match="n_names=49 must be between 50 and"):
        curated(49)


def test_a_writer_is_asked_once_and_its_questions_are_checked(found, monkeypatch, tmp_path):
    requests = []

    def ask(endpoint, request):
        requests.append(request)
        question = request.messages[0]["content"].rpartition("\n")[2]
        return Response("No idea." if len(requests) % 2 else f"Please: {question}", "stop", "a server")

    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(Endpoint, "ask", ask)
    pairs, counts = write_questions(found, "a-model", 20, tmp_path)
    assert counts == {"written": 20, "not about the fact": 10}
    assert len(pairs) == 10
    assert all(pair.question.startswith("Please: ") for pair in pairs)
    assert write_questions(found, "a-model", 20, tmp_path) == (pairs, counts)
    assert len(requests) == 20  # the second time the folder answered


def test_a_written_question_must_not_answer_itself():
    fact = Fact("summary", "urlopen", "Open the URL url.")
    assert unfit("Which function can Open the URL url?", fact) is None
    assert unfit("Does urlopen do this: Open the URL url?", fact) == "gives the answer away"
    assert unfit("One?\nOpen the URL url?", fact) == "no single question"
