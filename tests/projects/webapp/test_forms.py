import json

import pytest

from llmguide.projects.webapp.forms import Form, RateLimit, RefusedError


def form(**fields):
    return Form(json.dumps(fields).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(body):
    with pytest.raises(RefusedError) as refused:
        Form(body)
    assert refused.value.status_code == 400


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12345", "text: 5 characters must have 1 to 4"),
        ("", "text: 0 characters must have 1 to 4"),
        (7, "text: 7 must be a text"),
        (None, "text: null must be a text"),
        ("a\0b", "text: a NUL"),
        ("\ud800", "text: a NUL or half a surrogate pair"),
    ],
)
def test_texts_have_limits(value, message):
    with pytest.raises(RefusedError) as refused:
        form(text=value).text("text", least=1, most=4)
    assert refused.value.message.startswith(message)


def test_an_emoji_is_one_character():
    assert form(text="\U0001f600" * 4).text("text", most=4) == "\U0001f600" * 4


@pytest.mark.parametrize("value", [-0.1, 2.1, "1", True, [1], float("nan")])
def test_numbers_have_limits(value):
    with pytest.raises(RefusedError, match="400"):
        form(heat=value).number("heat", 0, 2)


def test_whole_numbers_and_choices():
    assert form(n=3.0).integer("n", 1, 5) == 3
    with pytest.raises(RefusedError) as refused:
        form(n=2.5).integer("n", 1, 5)
    assert refused.value.message == "n: 2.5 must be a whole number"
    for value in ("Calm", 1, ["calm"]):
        with pytest.raises(RefusedError) as refused:
            form(mood=value).choice("mood", ("calm", "lively"))
        assert refused.value.message.endswith("must be one of 'calm', 'lively'")


def test_missing_and_unknown_fields_are_named():
    with pytest.raises(RefusedError) as refused:
        form().text("text", most=4)
    assert refused.value.message == "the field 'text' is missing"
    given = form(text="a", txet="b")
    given.text("text", most=4)
    with pytest.raises(RefusedError) as refused:
        given.reject_unread()
    assert refused.value.message == "no such field: txet"


def test_a_rate_forgets():
    rate = RateLimit(3, seconds=10)
    for now in (0.0, 4.0, 8.0):
        rate.take(now)
    for now in (8.5, 9.9):
        with pytest.raises(RefusedError) as refused:
            rate.take(now)
    assert (refused.value.status_code, refused.value.wait) == (429, 1)
    rate.take(10.0)
    with pytest.raises(RefusedError) as refused:
        rate.take(10.5)  # the refused ones have cost nothing: the next to go is that of 4.0
    assert refused.value.wait == 4
