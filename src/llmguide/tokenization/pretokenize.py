r"""Pre-tokenization: split text into pieces before byte-pair encoding, exactly as tiktoken does.

Byte-pair encoding never merges across pieces (pre-tokens), so the split pattern limits the possible tokens:
GPT-2's keeps a leading space with its word and never joins letters to digits or punctuation.

References:
    [1] Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
    [2] tiktoken, ``tiktoken_ext/openai_public.py``: the patterns of OpenAI's vocabularies.

Patterns are written for tiktoken's engine and translated to Python's ``re``: ``\p{..}`` and ``\s`` become the
exact character sets of `llmguide.tokenization.unicode_classes`, ``$`` becomes ``\Z``.

Leaves out: ``\w``, ``\d``, ``\b`` and other shorthands that match different characters in the two engines
(refused), every ``\p{..}`` that is not in the table, and exactness for ``i`` or ``\p{..}`` inside
``(?i:..)``: `re` folds i with dotless i, tiktoken's engine does not.
"""

import re
from bisect import bisect_right
from functools import cache, cached_property
from operator import itemgetter

from llmguide.tokenization.unicode_classes import CLASS_NAMES, code_point_ranges

__all__ = ["GPT2_PATTERN", "GPT4_PATTERN", "Pretokenizer", "translate", "well_formed"]

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern of GPT-2 and GPT-3."""

GPT4_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""The pattern of ``cl100k_base`` (GPT-3.5, GPT-4): at most three digits a piece, contractions in any case."""

_SYNTAX = re.compile(
    r"\\p\{(?P<property>\w+)\}|(?P<shorthand>\\[sS])|\\(?:[rntfv]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[^\w\s])"
    r"|(?P<refused>\\.|&&|--|~~)|\(\?|\[\^?\]?|.",
    re.DOTALL,
)
_LAST_BMP = 0xFFFF
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_KINDS = ("Lu", "Ll", "Lt", "Lm", "Lo", "M", "N")  # every class that has astral members
_STAND_INS = {kind: chr(0xD800 + i) for i, kind in enumerate(_KINDS)}
_STAND_INS["L"] = "".join(_STAND_INS[kind] for kind in _KINDS if kind[0] == "L")
_UNCLASSED = chr(0xD800 + len(_KINDS))
_ANY_STAND_IN = re.compile(f"[\ud800-{_UNCLASSED}]")
_BORDER = "\udfff"


class Pretokenizer:
    r"""A compiled split pattern: call it with a text to get the list of pieces.

    Args:
        pattern: Split pattern in tiktoken's syntax. Text that no alternative matches is dropped, as in
            tiktoken; every pattern of this module matches every character.

    Raises:
        ValueError: If the pattern uses syntax that `re` would read differently.

    >>> Pretokenizer(GPT2_PATTERN)("I'll pay  25 dollars!")
    ['I', "'ll", ' pay', ' ', ' 25', ' dollars', '!']
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        # A character set without the rare code points past U+FFFF is a bitmap in `re`; with them every miss
        # walks a list of ranges, which costs 2.5 to 6 times the time on English text.
        self._bmp = _compile(translate(pattern, last=_LAST_BMP), pattern)
        self._stand_ins_are_exact = pattern.isascii() and not re.search(r"\\[xu]", pattern)

    @cached_property
    def _full(self) -> re.Pattern[str]:
        return _compile(translate(self.pattern), self.pattern)

    def __call__(self, text: str) -> list[str]:
        """Return the pieces of ``text`` in order."""
        text = well_formed(text)
        if text.isascii() or not _ASTRAL.search(text):
            return self._bmp.findall(text)
        return self._split_with_stand_ins(text) if self._stand_ins_are_exact else self._full.findall(text)

    def _split_with_stand_ins(self, text: str) -> list[str]:
        """Split a text with emoji or other code points past U+FFFF as fast as one without.

        A well-formed text has no surrogates, so surrogates can replace the astral characters of each class
        while the fast pattern runs, and another one can mark the borders.
        """
        pieces = self._bmp.findall(_ASTRAL.sub(_stand_in, text))
        if sum(map(len, pieces)) != len(text):  # the pattern drops text, so stand-ins would be ambiguous
            return self._full.findall(text)
        originals = iter(_ASTRAL.findall(text))
        return _ANY_STAND_IN.sub(lambda _: next(originals), _BORDER.join(pieces)).split(_BORDER)


def translate(pattern: str, *, last: int = 0x10FFFF) -> str:
    r"""Rewrite a split pattern of tiktoken for Python's ``re``.

    Args:
        pattern: Pattern with ``\p{..}`` classes.
        last: Last code point of the classes, for texts without higher ones.

    Raises:
        ValueError: If a class is unknown, or a shorthand means other characters in the two engines.

    >>> translate(r"\p{Lu}+|(\S|[^\s\p{N}])$", last=0x7F)
    '[A-Z]+|(?:[^\t-\r ]|[^\t-\r 0-9])\\Z'
    """
    translated = []
    in_set = False
    for match in _SYNTAX.finditer(pattern):
        token = match.group()
        if match["refused"] or (in_set and token[0] == "[") or (in_set and token == r"\S"):
            raise ValueError(
                f"cannot translate {token!r} in the split pattern {pattern!r}; use sets of literals, "
                rf"\s and \p{{..}} with one of {', '.join(CLASS_NAMES)}"
            )
        if name := match["property"] or (match["shorthand"] and "s"):
            body = _set_body(name, last)
            token = body if in_set else f"[^{body}]" if token == r"\S" else f"[{body}]"
        elif token[0] == "[":
            in_set = True
        elif token == "]":
            in_set = False
        elif token == "$" and not in_set:
            token = r"\Z"  # in `re`, $ also matches before a final line feed
        elif token == "(" and not in_set:
            token = "(?:"  # findall returns groups instead of matches
        translated.append(token)
    return "".join(translated)


def well_formed(text: str) -> str:
    r"""Return ``text`` with surrogate pairs joined and lone surrogates replaced by U+FFFD, as tiktoken does.

    >>> well_formed("\ud83d\ude80 \ud83d") == "🚀 \ufffd"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _compile(translated: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(translated)
    except re.error as error:
        raise ValueError(f"the split pattern {pattern!r} is no regular expression: {error}") from error
    if compiled.groups:
        raise ValueError(f"the split pattern {pattern!r} has a named group; use (?:...)")
    return compiled


@cache
def _set_body(name: str, last: int) -> str:
    ranges = ((a, min(b, last)) for a, b in code_point_ranges(name) if a <= last)
    body = "".join(f"{chr(a)}-{chr(b)}" if a < b else chr(a) for a, b in ranges)
    return body + _STAND_INS.get(name, "") if last == _LAST_BMP else body


def _stand_in(match: re.Match[str]) -> str:
    code_point = ord(match.group())
    ranges = _astral_ranges()
    _, last, stand_in = ranges[bisect_right(ranges, code_point, key=itemgetter(0)) - 1]
    return stand_in if code_point <= last else _UNCLASSED


@cache
def _astral_ranges() -> list[tuple[int, int, str]]:
    """Return first and last code point of each astral range, ascending, with the stand-in of its class."""
    ranges = ((*bounds, _STAND_INS[kind]) for kind in _KINDS for bounds in code_point_ranges(kind))
    return sorted(r for r in ranges if r[1] > _LAST_BMP)
