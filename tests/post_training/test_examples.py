import re

import pytest

from llmguide import Tokenizer
from llmguide.post_training.chat import END, START
from llmguide.post_training.examples import render_examples, render_preferences

TOKENIZER = Tokenizer.train("", 258, special_tokens=[START, END])  # a token for each byte


def test_the_response_and_its_end_have_a_loss():
    (rendered,) = render_examples([("Hi", "Ahoy")], TOKENIZER, max_length=64)
    learned = [i for i, has_loss in zip(rendered.ids, rendered.mask, strict=True) if has_loss]
    assert TOKENIZER.decode(learned) == "Ahoy<|im_end|>"


def test_both_responses_of_a_pair_follow_the_same_prompt():
    (pair,) = render_preferences([("Hi", "Ahoy", "Hello")], TOKENIZER, max_length=64)
    prompts = [r.ids[: r.mask.index(True)] for r in (pair.chosen, pair.rejected)]
    assert prompts[0] == prompts[1]
    assert TOKENIZER.decode(pair.chosen.ids).endswith("Ahoy<|im_end|>\n")
    assert TOKENIZER.decode(pair.rejected.ids).endswith("Hello<|im_end|>\n")


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "there is no example"),
        ([("Hi", "Ahoy"), ("", "Ahoy")], "example 2, ('', 'Ahoy'), has an empty text"),
        ([("Hi", "\n")], "example 1, ('Hi', '\\n'), has an empty text"),
        # user\nHi\n and assistant\n\n have 8 + 11 characters, and there are four control tokens
        ([("Hi", "A" * 41)], None),
        ([("Hi", "A" * 42)], "example 1, 'Hi', has 65 tokens with its control tokens, and 64 fit"),
    ],
)
def test_an_example_that_cannot_be_learned_is_named(examples, message):
    if message is None:
        assert len(render_examples(examples, TOKENIZER, max_length=64)[0].ids) == 64
        return
    with pytest.raises(ValueError, match=re.escape(message)):
        render_examples(examples, TOKENIZER, max_length=64)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "there is no example"),
        ([("Hi", "Ahoy", "")], "example 1, ('Hi', 'Ahoy', ''), has an empty text"),
        ([("Hi", "Ahoy", "Ahoy")], "has the same response twice"),
        ([("Hi", "Ahoy", "A" * 42)], "example 1, 'Hi', has 65 tokens"),
    ],
)
def test_a_pair_that_cannot_be_learned_is_named(examples, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        render_preferences(examples, TOKENIZER, max_length=64)
