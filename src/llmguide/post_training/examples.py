"""A reader's own examples, written as plain tuples: conversations of one turn, and preference pairs.

`llmguide.post_training.chat.render_chat` takes whole conversations. These functions take what a reader
types into a page, and their errors name the example to change.

Leaves out: system messages and conversations of several turns.
"""

from collections.abc import Sequence
from typing import Any

from llmguide.post_training.chat import TokenizedChat, render_chat
from llmguide.post_training.preferences.pairs import PreferencePair, render_pair


def render_examples(
    examples: Sequence[tuple[str, str]], tokenizer: Any, *, max_length: int
) -> list[TokenizedChat]:
    """Tokenize pairs of a question and the response to learn, for `llmguide.post_training.sft.SFTDataset`.

    Args:
        examples: Question and response of each example.
        tokenizer: Tokenizer with the control tokens of ChatML.
        max_length: Maximum number of tokens of an example, with its control tokens.

    Returns:
        Token ids and loss masks.

    Raises:
        ValueError: There is no example, or one has an empty text or is too long; the message names it.

    >>> from llmguide import Tokenizer
    >>> tokenizer = Tokenizer.train("", 258, special_tokens=["<|im_start|>", "<|im_end|>"])
    >>> render_examples([("Hi", "Ahoy"), ("Hi", " ")], tokenizer, max_length=64)
    Traceback (most recent call last):
    ValueError: example 2, ('Hi', ' '), has an empty text; write something, or remove the example
    """
    _require_texts(examples)
    return [
        _rendered(i, question, response, tokenizer, max_length)
        for i, (question, response) in enumerate(examples, 1)
    ]


def render_preferences(
    examples: Sequence[tuple[str, str, str]], tokenizer: Any, *, max_length: int
) -> list[PreferencePair]:
    """Tokenize triples of a question, the chosen and the rejected response, for `PreferenceDataset`.

    Args:
        examples: Question, chosen response and rejected response of each example.
        tokenizer: Tokenizer with the control tokens of ChatML.
        max_length: Maximum number of tokens of the question with either response.

    Returns:
        The tokenized pairs.

    Raises:
        ValueError: There is no example, or one has an empty text, is too long, or has the same response
            twice; the message names it.
    """
    _require_texts(examples)
    for i, example in enumerate(examples, 1):
        question, chosen, rejected = example
        if chosen == rejected:
            raise ValueError(f"example {i}, {example}, has the same response twice; change one of them")
        for response in (chosen, rejected):
            _rendered(i, question, response, tokenizer, max_length)
    return [
        render_pair([{"role": "user", "content": question}], chosen, rejected, tokenizer)
        for question, chosen, rejected in examples
    ]


def _require_texts(examples: Sequence[tuple[str, ...]]) -> None:
    if not examples:
        raise ValueError("there is no example to learn from; write at least one")
    for i, example in enumerate(examples, 1):
        if not all(text.strip() for text in example):
            raise ValueError(
                f"example {i}, {example}, has an empty text; write something, or remove the example"
            )


def _rendered(i: int, question: str, response: str, tokenizer: Any, max_length: int) -> TokenizedChat:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": response}]
    rendered = render_chat(turns, tokenizer)
    if len(rendered.ids) > max_length:
        raise ValueError(
            f"example {i}, {question[:30]!r}, has {len(rendered.ids)} tokens with its control tokens, and "
            f"{max_length} fit; shorten it"
        )
    return rendered
