"""Exercises of the chapter on how models write code: infilling, judging, estimating, the edges."""

import math
from collections.abc import Callable, Sequence

from llmguide.coding.patterns.edge_cases import second_largest
from llmguide.evaluation.metrics import pass_at_k
from llmguide.exercises.definition import Exercise, Mistake

# ---- infilling -------------------------------------------------------------------------------------


def fill_in_the_middle(text: str, start: int, end: int) -> list[str]:
    """Return the parts of a training example in PSM order, whose middle is text[start:end].

    >>> fill_in_the_middle("abcdef", 2, 4)
    ['<PRE>', 'ab', '<SUF>', 'ef', '<MID>', 'cd']
    """
    return ["<PRE>", text[:start], "<SUF>", text[end:], "<MID>", text[start:end]]


# ---- judging ---------------------------------------------------------------------------------------


def same_output(printed: str, expected: str) -> bool:
    r"""Return whether two outputs are equal, ignoring white space at the ends of lines and of the whole.

    >>> same_output("3 \n\n", "3"), same_output("  3", "3")
    (True, False)
    """

    def lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.rstrip().splitlines()]

    return lines(printed) == lines(expected)


def _alike(form: Callable[[str], object]) -> Callable[[str, str], bool]:
    """Compare two outputs after each has been brought into a form."""
    return lambda printed, expected: form(printed) == form(expected)


# ---- the edges -------------------------------------------------------------------------------------


def _second_from_zero(numbers: Sequence[int]) -> int | None:
    first = second = 0
    for number in numbers:
        if number > first:
            first, second = number, first
        elif second < number < first:
            second = number
    return second or None


def _maximum_lost(numbers: Sequence[int]) -> int | None:
    first = second = None
    for number in numbers:
        if first is None or number > first:
            first = number
        elif number < first and (second is None or number > second):
            second = number
    return second


EXERCISES = (
    Exercise(
        "fill-in-the-middle",
        "fill_in_the_middle(text, start, end): the six entries of a training example in PSM order, with "
        "text[start:end] as the middle: the sentinels '<PRE>', '<SUF>' and '<MID>', each before its part.",
        fill_in_the_middle,
        lambda: [("def area(r): return 3.14 * r**2", 20, 24), ("abcdef", 2, 4)],
        (
            Mistake(
                "middle not moved",
                "the parts are in the order of the text",
                "A model that writes from left to right has to have read the suffix when it writes the "
                "middle.",
                lambda text, start, end: [
                    "<PRE>",
                    text[:start],
                    "<MID>",
                    text[start:end],
                    "<SUF>",
                    text[end:],
                ],
            ),
            Mistake(
                "suffix first",
                "the suffix comes before the prefix (this is the order SPM)",
                "PSM: prefix, suffix, middle.",
                lambda text, start, end: [
                    "<SUF>",
                    text[end:],
                    "<PRE>",
                    text[:start],
                    "<MID>",
                    text[start:end],
                ],
            ),
            Mistake(
                "end counted in",
                "the character at `end` belongs to the middle",
                "text[start:end] ends before it, and the suffix begins with it.",
                lambda text, start, end: fill_in_the_middle(text, start, end + 1),
            ),
            Mistake(
                "prefix and suffix exchanged",
                "the text before the middle comes after the sentinel of the suffix",
                "The suffix is what comes after the cursor.",
                lambda text, start, end: [
                    "<PRE>",
                    text[end:],
                    "<SUF>",
                    text[:start],
                    "<MID>",
                    text[start:end],
                ],
            ),
        ),
        (
            "Three slices of the text.",
            "The middle goes last, because it is what the model has to write.",
            "PSM means prefix, suffix, middle. Put each sentinel before its part.",
        ),
        level="warm-up",
        minutes=5,
    ),
    Exercise(
        "pass-at-k",
        "pass_at_k(n, c, k): of all ways to choose k of n samples, c of which pass, the fraction that "
        "contain at least one that passes.",
        pass_at_k,
        lambda: [(5, 2, 2), (10, 3, 4), (5, 4, 2), (20, 3, 1)],
        (
            Mistake(
                "fraction of passes plugged in",
                "the same sample can be chosen twice: 1 - (1 - c/n)^k",
                "Choose k different ones. With 2 of 5 and k = 2, 3 of 10 pairs contain none that passes.",
                lambda n, c, k: 1 - (1 - c / n) ** k,
            ),
            Mistake(
                "fraction without a pass",
                "the choices in which none passes are counted",
                "You want the others: 1 minus this.",
                lambda n, c, k: math.comb(n - c, k) / math.comb(n, k),
            ),
            Mistake(
                "all have to pass",
                "all k samples have to pass",
                "One is enough, because tests can pick it out.",
                lambda n, c, k: math.comb(c, k) / math.comb(n, k),
            ),
            Mistake(
                "k ignored",
                "the result is c/n whatever k is",
                "More attempts, more chances.",
                lambda n, c, k: c / n,
            ),
            Mistake(
                "k times the fraction of passes",
                "the fraction of passes is multiplied by k, up to 1",
                "This counts choices with two passes twice. Count the choices without a pass instead.",
                lambda n, c, k: min(1.0, k * c / n),
            ),
        ),
        (
            "It is easier to count the choices that fail.",
            "Count the choices without a pass: all k come from the n - c that fail.",
            "math.comb(n, k) is the number of ways to choose k of n.",
        ),
        level="medium",
        minutes=10,
    ),
    Exercise(
        "same-output",
        "same_output(printed, expected): whether a program printed what it should. White space at the ends "
        "of lines and at the end of the whole does not count; everything else does.",
        same_output,
        lambda: [
            ("3 4\n", "3 4"),
            ("3  \n4\n\n", "3\n4"),
            ("  3", "3"),
            ("3\n\n4", "3\n4"),
            ("3  4", "3 4"),
            ("Yes", "yes"),
            ("34", "3 4"),
            ("3", "4"),
            ("", "\n"),
        ],
        (
            Mistake(
                "compared exactly",
                "a space or an empty line at the end makes an answer wrong",
                "print ends its output with a line break, which the expected text may lack.",
                _alike(lambda text: text),
            ),
            Mistake(
                "white space ignored",
                "the words are compared, wherever they stand",
                "Columns and indentation are part of an output. Compare line by line.",
                _alike(str.split),
            ),
            Mistake(
                "spaces before lines ignored",
                "white space is stripped at both ends of a line",
                "A pyramid of stars would be right without its spaces. Use rstrip, not strip.",
                _alike(lambda text: [line.strip() for line in text.rstrip().splitlines()]),
            ),
            Mistake(
                "empty lines ignored",
                "empty lines between others are dropped",
                "Only empty lines at the end do not count.",
                _alike(lambda text: [line.rstrip() for line in text.splitlines() if line.strip()]),
            ),
            Mistake(
                "capitals ignored",
                "uppercase and lowercase letters are treated as equal",
                "Yes and yes are different outputs; the problem statement says which one is right.",
                lambda printed, expected: same_output(printed.lower(), expected.lower()),
            ),
        ),
        (
            "Bring both outputs into a form in which the white space that does not count is gone.",
            "Split the text into lines, and strip each of them at its end. Which lines may be dropped?",
            "[line.rstrip() for line in text.rstrip().splitlines()]",
        ),
        level="warm-up",
        minutes=10,
    ),
    Exercise(
        "second-largest",
        "second_largest(numbers): the largest number below the maximum, or None if there is none.",
        second_largest,
        lambda: [([4, 1, 3],), ([1, 3, 4],), ([-3, -1, -2],), ([5, 5],), ([5, 5, 2],), ([7],), ([],)],
        (
            Mistake(
                "repeated maxima",
                "the second item of the sorted list is taken, which may be the maximum again",
                "[5, 5] has no number below 5.",
                lambda numbers: sorted(numbers)[-2] if len(numbers) > 1 else None,
            ),
            Mistake(
                "starts from 0",
                "the search starts from 0, which is above every negative number",
                "Start from nothing: None, or the first number.",
                _second_from_zero,
            ),
            Mistake(
                "maximum lost",
                "a maximum that is overtaken is forgotten",
                "The previous maximum becomes the second largest: first, second = number, first.",
                _maximum_lost,
            ),
            Mistake(
                "second smallest",
                "the second number from below is taken",
                "sorted puts the smallest first.",
                lambda numbers: sorted(set(numbers))[1] if len(set(numbers)) > 1 else None,
            ),
        ),
        (
            "What should happen for [5, 5], for one number, for none?",
            "What is the maximum of the numbers that are below the maximum?",
            "If no number is below the maximum, the answer is None. max has a parameter `default`.",
        ),
        level="warm-up",
        minutes=10,
    ),
)
