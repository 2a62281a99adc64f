import pytest
import torch

from llmguide.projects.retrieval_chatbot.answer import REFUSAL, fit_gate, messages, quotable, quote, sentences
from llmguide.projects.retrieval_chatbot.chunks import Chunk
from llmguide.projects.retrieval_chatbot.support import claims, covered

PASSAGES = [
    Chunk("lists", "Sorting", 0, 99, "Sorting\n=======\n\nIt is stable.\nIt never reorders equal elements."),
    Chunk("dicts", "", 0, 99, "A dictionary keeps the order\nof insertion. Keys are unique there."),
]


def embed(texts):
    """A direction for each word that matters, so that texts are near that share it."""
    words = ["stable", "insertion", "unique"]
    rows = torch.tensor([[float(word in text) for word in words] + [0.1] for text in texts])
    return torch.nn.functional.normalize(rows, dim=1)


def test_sentences_are_slices_and_list_items_stand_alone():
    text = "First one. Second, e.g. this\none.\n\n* an item\n\n* another (with one.) Third."
    found = [text[start:stop] for start, stop in sentences(text)]
    assert found == [
        "First one.",
        "Second, e.g. this\none.",
        "* an item",
        "* another (with one.)",
        "Third.",
    ]


def test_headings_and_scraps_are_not_quoted():
    assert [text for _, text in quotable(PASSAGES)] == [
        "It never reorders equal elements.",
        "A dictionary keeps the order of insertion.",
        "Keys are unique there.",
    ]


def test_the_nearest_sentences_are_quoted_in_the_order_of_the_text():
    answer = "".join(quote("are keys unique, and in order of insertion?", PASSAGES, embed))
    assert answer == "“A dictionary keeps the order of insertion.” [2] “Keys are unique there.” [2]"
    assert all(claim.supported and claim.cited == [2] for claim in claims(answer, PASSAGES))


def test_without_anything_to_quote_it_refuses():
    assert list(quote("what?", [], embed)) == [REFUSAL]


def test_a_model_gets_the_numbered_passages_and_the_question():
    system, user = messages("Is it stable?", PASSAGES)
    assert REFUSAL in system["content"]
    assert user["content"].startswith("[1] Sorting\n=======\n")
    assert "\n\n[2] A dictionary keeps" in user["content"]
    assert user["content"].endswith("Question: Is it stable?")


@pytest.mark.parametrize(
    ("answer", "supported", "cited"),
    [
        ("It never reorders equal elements [1].", True, [1]),
        ("It never reorders equal elements. [1]", True, [1]),
        ("It never reorders equal elements.[1][2]", True, [1, 2]),
        ("It never reorders equal elements [1, 2].", True, [1, 2]),
        ("“It never reorders equal elements” [1]", True, [1]),
        ("It never reorders equal elements [2].", False, [2]),  # the other passage says so
        ("It never reorders equal elements.", False, []),  # and none is cited
        ("It never reorders equal elements [7].", False, []),  # there is no such passage
        ("It always reorders all elements [1].", False, [1]),
        ("Lists are red and big and old [1].", False, [1]),
    ],
)
def test_a_sentence_is_supported_by_what_it_cites(answer, supported, cited):
    (claim,) = claims(answer, PASSAGES)
    assert (claim.supported, claim.cited) == (supported, cited)


def test_an_answer_of_another_question_supports_nothing():
    answer = "".join(quote("are keys unique?", PASSAGES[1:], embed))
    assert not any(claim.supported for claim in claims(answer, PASSAGES[:1]))


def test_covered_counts_words_in_runs():
    source = list("abcdef")
    assert covered(list("abc"), source) == 1.0
    assert covered(list("abxde"), source) == 0.0
    assert covered(list("xabcyz"), source) == 0.5
    assert covered(list("ab"), source) == 1.0  # a short answer, all of it
    assert covered(list("fa"), source) == 0.0
    assert covered(list("abc"), []) == 0.0


def test_a_gate_that_separates_is_right_always_and_one_that_cannot_as_often_as_possible():
    assert 0.3 < fit_gate([0.5, 0.9], [0.1, 0.3]) < 0.5
    # 0.55: both answered ones pass, and one of three others; any other border is right less often
    assert 0.4 < fit_gate([0.6, 0.8], [0.1, 0.4, 0.7]) < 0.6
    with pytest.raises(ValueError, match="0 answerable and 1 other"):
        fit_gate([], [0.1])


def test_a_citation_ends_a_sentence_that_has_no_full_stop():
    found = claims("“It never reorders equal elements” [1] “Keys are unique there.” [2]", PASSAGES)
    assert [(claim.supported, claim.cited) for claim in found] == [(True, [1]), (True, [2])]
