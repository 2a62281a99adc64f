"""Style controls: the measures of a text, their levels, and the codes that ask for them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.projects.analysis.text_style import style
from llmguide.projects.creative_writing.texts import recent

ANY = "any"  # level of a free control
CONTROLS = {  # measure of `style` and its levels, of each control
    "length": ("words", ("short", "middling", "long")),
    "words": ("letters per word", ("short", "middling", "long")),
    "tone": ("lively sentences", ("calm", "lively")),
}
CODES = tuple(f"<|{name}:{level}|>" for name, (_, levels) in CONTROLS.items() for level in (*levels, ANY))


def levels_of(text: str, borders: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return the level of each control that a text has.

    >>> levels_of("Come here to me!", {"length": [5, 10], "words": [2, 5], "tone": [0.0]})
    {'length': 'short', 'words': 'middling', 'tone': 'lively'}
    """
    measures = style(text)
    return {
        name: levels[sum(measures[measure] > border for border in borders[name])]
        for name, (measure, levels) in CONTROLS.items()
    }


def coded(text: str, levels: Mapping[str, str]) -> str:
    """Write the prompt for a text and a style; a control without a level is free.

    >>> coded("Once upon", {"tone": "calm"})
    '<|length:any|><|words:any|><|tone:calm|>Once upon'
    """
    return "".join(f"<|{name}:{levels.get(name, ANY)}|>" for name in CONTROLS) + recent(text)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Encode a prompt of `coded`, its codes last; what looks like a code in the text itself is text."""
    codes = re.match(rf"(<\|\w+:\w+\|>){{{len(CONTROLS)}}}", prompt)
    if codes is None:
        raise ValueError(f"{prompt[:60]!r} does not begin with the codes of {', '.join(CONTROLS)}")
    special = tokenizer.special_tokens
    style_ids = [special[code] for code in re.findall(r"<\|.*?\|>", codes[0])]
    return [special[END_OF_TEXT], *tokenizer.encode(prompt[codes.end() :]), *style_ids]


def borders_of(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the quantiles of each measure that split its levels evenly, as far as ties allow."""
    measures = [style(text) for text in texts]
    borders = {}
    for name, (measure, levels) in CONTROLS.items():
        quantiles = [i / len(levels) for i in range(1, len(levels))]
        values = [each[measure] for each in measures]
        # values that occur, so that a text on a border belongs to the level below
        borders[name] = np.quantile(values, quantiles, method="inverted_cdf").tolist()
    return borders
