r"""Verifiable rewards: rules that check whether the final answer of a completion is correct.

A policy trained against a check exploits every gap in it. These rules close the usual ones:

- only the last answer is checked, and as a whole: listing all candidates earns nothing, because ``3 or 4`` is
  not a number;
- numbers are read by a grammar of ASCII digits and compared as exact fractions: ``inf``, ``nan``, ``1_000``,
  digits of other scripts and anything of more than 40 characters are not numbers, and ``1e999`` or a million
  digits are rejected without being computed;
- a check never raises an error on model output: what it cannot parse is wrong.

Not detected: a correct answer from wrong reasoning, and answers that equal the expected one in a way that the
grammar does not cover (``\sqrt{4}`` for 2), which count as wrong.

References: Lambert et al. 2024, arXiv:2411.15124, section 6 (verifiable rewards); DeepSeek-AI 2025,
arXiv:2501.12948, section 2.2.2 (accuracy and format); Cobbe et al. 2021, arXiv:2110.14168 (``####``);
Hendrycks et al. 2021, arXiv:2103.03874 (``\boxed``).
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction

import torch

from llmguide.post_training.rl.rollout import Rollout, stop_ids
from llmguide.post_training.rl.trainer import Reward

MAX_NUMBER = 40  # characters
_PLAIN = r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
_NUMBER = re.compile(rf"({_PLAIN})(?:\s*/\s*({_PLAIN}))?")
_LATEX_FRACTION = re.compile(r"([-+]?)\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
# the minus of 10-5 is an operator, not a sign
_IN_TEXT = re.compile(
    r"(?:(?<![\w)])[-+])?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?:/[0-9]+)?"
)


def boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}``, whose braces must balance; None if there is none.

    >>> boxed(r"First \boxed{1}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len(r"\boxed{")
    for end in range(begin, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[begin:end]
    return None


def tagged(text: str, tag: str) -> str | None:
    """Return the content of the last ``<tag>...</tag>``, stripped; None if there is none.

    >>> tagged("<think>4?</think> <answer> 5 </answer>", "answer")
    '5'
    """
    end = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(end, 0))
    return None if start < 0 else text[start + len(tag) + 2 : end].strip()


def last_number(text: str) -> str | None:
    """Return the last number or fraction of a text as it is written; None if there is none.

    >>> last_number("7 boxes of 12 make 84, so it costs $1,234.50."), last_number("no idea")
    ('1,234.50', None)
    """
    found = None
    for match in _IN_TEXT.finditer(text):
        found = match
    return None if found is None else found[0].rstrip(",")


def final_answer(text: str) -> str | None:
    r"""Extract the final answer: the last box, else the text after the last ``####``, else the last number.

    A text that opens a box and never closes it has no answer.

    >>> final_answer(r"so \boxed{8} of 9"), final_answer("2 + 2 = 4\n#### 4"), final_answer("It is 4.")
    ('8', '4', '4')
    """
    if r"\boxed{" in text:
        return boxed(text)
    if "####" in text:
        return text.rpartition("####")[2].strip()
    return last_number(text)


def parse_number(text: str) -> Fraction | None:
    r"""Parse a whole text as one number: ``-1,234.5``, ``3/4``, ``\frac{3}{4}``, ``1e3``; None if it is not.

    Dollar and percent signs are dropped, as in the reference answers of MATH and GSM8K: ``50%`` is 50.

    >>> [parse_number(text) for text in ("$1,234.5", r"-\frac{3}{4}", "50%", "1e-3")]
    [Fraction(2469, 2), Fraction(-3, 4), Fraction(50, 1), Fraction(1, 1000)]
    >>> [parse_number(text) for text in ("3 or 4", "1/0", "inf", "1e9999", "1,23", "٣", "9" * 41, "")]
    [None, None, None, None, None, None, None, None]
    """
    if len(text) > 2 * MAX_NUMBER:
        return None
    text = text.strip().rstrip(".").replace("\\$", "").replace("$", "").replace("\\%", "").replace("%", "")
    text = _LATEX_FRACTION.sub(r"\1\2/\3", text.strip()).strip()
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > MAX_NUMBER:
        return None
    above, below = (part and part.replace(",", "") for part in match.groups())
    try:
        return Fraction(above) / (1 if below is None else Fraction(below))
    except (ValueError, ZeroDivisionError):  # "", "+", "1/0"
        return None


def numeric(text: str, expected: str, *, tolerance: float = 0.0) -> float:
    r"""Return 1 if the final answer of a completion is the expected number, else 0.

    Args:
        text: Text of the completion.
        expected: Expected number, in a form that `parse_number` accepts.
        tolerance: Allowed relative error, as a fraction of the expected number.

    Returns:
        0 or 1.

    Raises:
        ValueError: The expected answer is not a number.

    >>> numeric("so it is 0.75", "3/4"), numeric("about 3.14", "3.14159", tolerance=0.001)
    (1.0, 1.0)
    >>> numeric("1, 2, 3, 4 or 5", "4"), numeric(r"\boxed{3 or 4}", "4")
    (0.0, 0.0)
    """
    wanted = parse_number(expected)
    if wanted is None:
        raise ValueError(f"the expected answer {expected!r} is not a number; use `exact` for texts")
    answer = final_answer(text)
    found = None if answer is None else parse_number(answer)
    return float(found is not None and abs(found - wanted) <= Fraction(tolerance) * abs(wanted))


def exact(text: str, expected: str) -> float:
    r"""Return 1 if the answer in the last ``<answer>`` tag or ``\boxed{}`` is the expected text, else 0.

    Runs of white space count as one space; otherwise the texts must be equal.

    >>> exact("<answer> Paris </answer>", "Paris"), exact("Paris or Rome", "Paris")
    (1.0, 0.0)
    """
    answer = tagged(text, "answer")
    answer = boxed(text) if answer is None else answer
    return float(answer is not None and answer.split() == expected.split())


def has_format(text: str, tags: Sequence[str] = ("think", "answer")) -> float:
    """Return 1 if a text is exactly these tags in order, each once and not empty, else 0.

    >>> has_format("<think>2 + 2</think> <answer>4</answer>"), has_format("<answer>4</answer>")
    (1.0, 0.0)
    >>> has_format("<think>a</think><answer>3</answer><answer>4</answer>")
    0.0
    """
    rest = text
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1 or not rest.lstrip().startswith(opening):
            return 0.0
        inside, tag_end, rest = rest.lstrip().removeprefix(opening).partition(closing)
        if not tag_end or not inside.strip():
            return 0.0
    return float(not rest.strip())


def reward(
    check: Callable[[str, str], float],
    decode: Callable[[list[int]], str],
    expected: Mapping[str, str],
    *,
    eos_id: int | Collection[int] | None = None,
) -> Reward:
    """Make a reward function for PPO and GRPO from a check on texts.

    Args:
        check: Function from the text of a completion and the expected answer to a score, such as `numeric`.
        decode: Function of the tokenizer from token ids to text.
        expected: Expected answer of each prompt; the keys are decoded prompts.
        eos_id: Tokens that end a completion, which are removed before decoding; None: nothing is removed.

    Returns:
        Function from a rollout to the score of each completion.

    Raises:
        KeyError: When called, for a prompt that has no expected answer.

    >>> from llmguide.post_training.rl.rollout import Rollout
    >>> yes = torch.ones(1, 2, dtype=torch.bool)
    >>> rollouts = Rollout(torch.tensor([[50, 43, 50, 52]]), torch.ones(1, 4).bool(), yes, yes, yes, yes[0])
    >>> reward(numeric, lambda ids: "".join(map(chr, ids)), {"2+": "24"})(rollouts).tolist()
    [1.0]
    """

    def score(rollouts: Rollout) -> torch.Tensor:
        rows, ends = range(len(rollouts.ids)), stop_ids(eos_id)
        completions = [decode([i for i in rollouts.completion(row) if i not in ends]) for row in rows]
        answers = [expected[decode(rollouts.prompt(row))] for row in rows]
        scores = [check(text, answer) for text, answer in zip(completions, answers, strict=True)]
        return torch.tensor(scores, dtype=torch.float32, device=rollouts.ids.device)

    return score
