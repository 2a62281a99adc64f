"""Bits per character, and how much of a sampled text the corpus has: its words, and its longest copy."""

import re
from collections.abc import Iterable
from math import log, log2
from typing import Any

import numpy as np
import torch

from llmguide.evaluation.likelihood import text_logprobs
from llmguide.projects.analysis.held_out_bits import Bits
from llmguide.projects.character_model.characters import Characters

NEW_CHARACTER = log2(0x110000)  # bits that identify any Unicode code point


def bits_of(model: Any, tokenizer: Characters, text: str) -> float:
    """Return the bits of a text under a model."""
    return float(character_bits(model, tokenizer, text).sum())


def character_bits(model: Any, tokenizer: Characters, text: str) -> Bits:
    """Return the bits of each character under a model; an unknown one also costs its code point's bits."""
    ids = torch.tensor([tokenizer.beginning, *tokenizer.encode(text)])
    nats = -text_logprobs(model, ids, stride=model.config.context_length // 2).double()
    bits: Bits = (nats / log(2) + NEW_CHARACTER * (ids[1:] == tokenizer.unknown)).numpy()
    return bits


def per_character(bits: Bits, text: str) -> Bits:
    """Add up the bits of the bytes of each character of a text.

    >>> per_character(np.array([1.0, 2.0, 3.0]), "a\u00e9").tolist()
    [1.0, 5.0]
    """
    lengths = [len(character.encode()) for character in text]
    sums: Bits = np.add.reduceat(bits, np.cumsum([0, *lengths[:-1]]))
    return sums


def known_word_fraction(texts: Iterable[str], source: str) -> float:
    """Return the fraction of the words of four letters and more that occur in another text.

    The last word of each text is left out: it may be cut off.

    >>> known_word_fraction(["some brave zebra", "brave words"], "some brave new world")
    1.0
    >>> known_word_fraction(["some zebra order"], "some brave new world")
    0.5
    """
    words = [word for text in texts for word in _words(text)[:-1]]
    vocabulary = set(_words(source))
    return sum(word in vocabulary for word in words) / max(1, len(words))


def longest_copy(text: str, source: str) -> str:
    """Find the longest part of a text that occurs in another, character for character.

    >>> longest_copy("a brave new word", "the brave new world")
    ' brave new wor'
    """
    longest = ""
    for start in range(len(text)):
        while start + len(longest) < len(text) and text[start : start + len(longest) + 1] in source:
            longest = text[start : start + len(longest) + 1]
    return longest


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{4,}", text.lower())  # shorter ones come about by chance
