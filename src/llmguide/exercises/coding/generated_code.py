"""Exercises on what a program does with generated code: constrain its syntax, apply its edits."""

from collections.abc import Callable, Sequence
from functools import partial

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- constrained decoding ----------------------------------------------------------------------------------

END = "<end>"


def scan(text: str, *, zeros: bool = False, trailing: bool = False, after: bool = False) -> str | None:
    """Return the state of a parser of nested lists of ints after a text, None if no list begins so.

    The states are "start", "open" (after an opening bracket), "comma", "zero", "digits", "value" (after a
    list) and "done".
    """
    state, depth = "start", 0
    for character in text:
        may_begin = state in {"open", "comma"}
        if character == "[" and (may_begin or state == "start"):
            state, depth = "open", depth + 1
        elif character == "]" and (
            state in {"open", "zero", "digits", "value"} or (trailing and state == "comma")
        ):
            depth -= 1
            state = "value" if depth else "done"
        elif character == "," and state in {"zero", "digits", "value"}:
            state = "comma"
        elif character.isdigit() and (may_begin or state == "digits" or (zeros and state == "zero")):
            state = "zero" if character == "0" and state != "digits" else "digits"
        elif not (after and state == "done"):
            return None
    return state


def allowed_tokens(
    prefix: str,
    vocabulary: Sequence[str],
    state: Callable[[str], str | None] = scan,
    *,
    last: int | None = None,
) -> list[bool]:
    """Return which tokens may follow, with switches for the mistakes.

    >>> allowed_tokens("[1", ["2", "]", ",]", "],", END])
    [True, True, False, False, False]
    """
    return [
        state(prefix) == "done" if token == END else state(prefix + token[:last]) is not None
        for token in vocabulary
    ]


def _balanced(text: str) -> str | None:
    """Check the brackets only."""
    depths = [text[: i + 1].count("[") - text[: i + 1].count("]") for i in range(len(text))]
    if any(depth < 0 for depth in depths) or 0 in depths[:-1] or text[:1] not in {"[", ""}:
        return None
    return "done" if depths and depths[-1] == 0 else "open"


def _end_when_balanced(prefix: str, vocabulary: Sequence[str]) -> list[bool]:
    allowed = allowed_tokens(prefix, vocabulary)
    return [good or token == END for token, good in zip(vocabulary, allowed, strict=True)]


def _grammar_probes() -> list[Arguments]:
    vocabulary = [
        "[",
        "]",
        ",",
        "0",
        "7",
        "10",
        "[]",
        "]]",
        "],",
        ",[",
        "[[",
        ",]",
        "07",
        "[0,",
        "1]",
        "]]]",
        END,
    ]
    prefixes = ["", "[", "[[", "[1", "[0", "[1,", "[[1],", "[[]", "[[2]]", "[10", "[[[3"]
    return [(prefix, vocabulary) for prefix in prefixes]


# ---- edits -------------------------------------------------------------------------------------------------

Edits = list[tuple[str, str]]


def count_overlapping(text: str, part: str) -> int:
    """Count the occurrences of a part, which can overlap.

    >>> count_overlapping("aaa", "aa"), "aaa".count("aa")
    (2, 1)
    """
    return sum(text.startswith(part, i) for i in range(len(text)))


def apply_edits(
    text: str,
    edits: Edits,
    *,
    count: Callable[[str, str], int] = count_overlapping,
    unique: bool = True,
    everywhere: bool = False,
    original: bool = False,
    stop: bool = False,
    strip: bool = False,
) -> tuple[str, list[str]]:
    """Apply search-and-replace edits, with switches for the mistakes."""
    given, reports = text, []
    for old, new in [(old.strip(), new.strip()) for old, new in edits] if strip else edits:
        n = count(given if original else text, old)
        if n == 0 or (n > 1 and unique):
            reports.append("not unique" if n else "not found")
            if stop:
                break
        else:
            reports.append("applied")
            text = text.replace(old, new) if everywhere else text.replace(old, new, 1)
    return text, reports


def _edit_probes() -> list[Arguments]:
    program = "def f(x):\n    y = x + 1\n    return y\n\ndef g(x):\n    return y\n"
    return [
        (program, [("y = x + 1", "y = x + 2"), ("y = x + 2", "y = x + 3")]),
        (program, [("return y", "return x"), ("def g(x):\n    return y", "def g(x):\n    return x")]),
        (program, [("x - 1", "x"), ("    return y\n\n", "    return y - 1\n\n"), ("y = x + 1", "z = 0")]),
        ("anaana", [("ana", "o"), ("naa", "n")]),
        ("ababa", [("aba", "x")]),
        ("a = 1\n  a = 1\n", [("  a = 1", "  a = 2")]),
        ("n = 1", []),
    ]


EXERCISES = (
    Exercise(
        "allowed-tokens",
        "allowed_tokens(prefix, vocabulary) returns the mask of constrained decoding: a list with a bool for "
        "each token of `vocabulary`. The model writes a list of natural numbers and lists, such as [], "
        "[7,[10,0]] or [[[]]]: items are separated by commas, there are no spaces, there is no comma before "
        "a closing bracket, and a number has no leading zero (but may be 0). The whole text is one list. "
        "`prefix` is what was written so far; some valid text begins with it. A token is a string of one or "
        "more characters. It is allowed if some valid text begins with prefix + token. The token '<end>' is "
        "different: it ends the text, and is allowed if `prefix` is a valid text.",
        allowed_tokens,
        _grammar_probes,
        (
            Mistake(
                "first character only",
                "a token is allowed if its first character is",
                "Tokens have several characters. Each of them has to fit.",
                partial(allowed_tokens, last=1),
            ),
            Mistake(
                "brackets only",
                "only the brackets are checked",
                "Commas and numbers have rules, too: what may follow a comma, and what may not?",
                partial(allowed_tokens, state=_balanced),
            ),
            Mistake(
                "comma before a bracket",
                "a closing bracket is allowed after a comma",
                "After a comma there has to be an item.",
                partial(allowed_tokens, state=partial(scan, trailing=True)),
            ),
            Mistake(
                "leading zeros",
                "digits are allowed after a 0 that begins a number",
                "After a 0 at the start of a number, only a comma or a closing bracket can follow.",
                partial(allowed_tokens, state=partial(scan, zeros=True)),
            ),
            Mistake(
                "text after the end",
                "anything may follow the list when it is complete",
                "The whole text is one list. Once its outer bracket is closed, only '<end>' is left.",
                partial(allowed_tokens, state=partial(scan, after=True)),
            ),
            Mistake(
                "end at any time",
                "'<end>' is always allowed",
                "A list that is not closed is no valid text.",
                _end_when_balanced,
            ),
        ),
        (
            "Write a function that reads a text character by character and says whether a valid text can "
            "begin like this. Call it for prefix + token.",
            "What may come next depends on the depth of the brackets and on a state: after an opening "
            "bracket, after a comma, within a number, after a 0 that begins a number, after a closing "
            "bracket.",
            "Keep `depth` and the kind of the last item. Reject a character that its state does not allow. "
            "When the depth returns to 0, the text is complete.",
        ),
        level="hard",
        minutes=40,
        after="Inference engines compile a grammar or a JSON schema into such a machine and cache the mask "
        "of each state, because a vocabulary has 100,000 tokens or more. A mask guarantees the syntax, not "
        "the meaning.",
    ),
    Exercise(
        "apply-edits",
        "apply_edits(text, edits) applies the edits that a coding agent asks for. An edit is a pair (old, "
        "new) of strings; `old` is not empty. Go through the edits in order. Each replaces `old` with `new` "
        "in the text as the earlier edits have left it, provided that `old` occurs there exactly once. "
        "Otherwise leave the text as it is and go on with the next edit. Occurrences can overlap, and count "
        "separately. Every character counts, spaces and line breaks included. Return a tuple: the final "
        "text, and a list with 'applied', 'not found' or 'not unique' for each edit.",
        apply_edits,
        _edit_probes,
        (
            Mistake(
                "all occurrences replaced",
                "an edit replaces every occurrence",
                "The model may have meant only one of them. If `old` is not unique, report it.",
                partial(apply_edits, unique=False, everywhere=True),
            ),
            Mistake(
                "first occurrence replaced",
                "an edit replaces the first of several occurrences",
                "The model may have meant another one. If `old` is not unique, report it.",
                partial(apply_edits, unique=False),
            ),
            Mistake(
                "overlaps not counted",
                "occurrences that overlap are counted once",
                "str.count skips overlaps: 'ababa'.count('aba') is 1, but 'aba' occurs at 0 and at 2.",
                partial(apply_edits, count=str.count),
            ),
            Mistake(
                "searched in the original text",
                "occurrences are counted in the text before all edits",
                "Earlier edits have changed the text. Count in the current one.",
                partial(apply_edits, original=True),
            ),
            Mistake(
                "stopped at the first failure",
                "the edits after one that fails are not tried",
                "Report the failure and go on.",
                partial(apply_edits, stop=True),
            ),
            Mistake(
                "white space stripped",
                "spaces around `old` and `new` are stripped",
                "Indentation is part of the text, and it may be what makes `old` unique.",
                partial(apply_edits, strip=True),
            ),
        ),
        (
            "For each edit, count the indices of the current text at which `old` begins.",
            "text.startswith(old, i) says whether `old` begins at i, so overlapping occurrences are found as "
            "well.",
            "str.find with a start one after that of the last match finds overlapping occurrences, too. With "
            "exactly one, text.replace(old, new) is safe.",
        ),
        level="medium",
        minutes=15,
        after="Coding agents edit files this way because it costs fewer tokens than writing the whole file, "
        "and because a wrong edit fails loudly. The report goes back to the model, which can add context to "
        "`old`.",
    ),
)
