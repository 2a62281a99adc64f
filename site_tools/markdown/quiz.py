"""``@quiz attention-cat`` shows an item of the quiz in place, below the passage that answers it.

With its script (docs/js/quiz.js) it is a form; without it, the choices are a list and the answer is folded
below them. The pages of the quiz show their items in the same form.
"""

import json
import re
from typing import Any

from site_tools.content.quiz import KINDS, Question, Variant, item
from site_tools.markdown import replacing

LINE = re.compile(r"^@quiz (?P<name>[\w-]+)[ ]*$", re.MULTILINE)


def in_place(name: str) -> str:
    """An item as Markdown, in its first variant; the others are on its page of the quiz.

    Raises:
        ValueError: There is no such item.
    """
    question = item(name)
    shown = variant("Check yourself.", question, question.variants[0])
    return f'<div class="quiz in-place" markdown>\n\n{_question(question, shown)}\n</div>\n'


def rendered(label: str, question: Question, see: str) -> str:
    """An item as Markdown, in all variants.

    Args:
        label: Text in front of the question.
        question: The item.
        see: Link to the section that explains the answer.
    """
    first, *others = [variant(label, question, each, see) for each in question.variants]
    parts = [first]
    if others:
        summary = "<summary>The same question with other numbers</summary>"
        parts += ['<details class="more" markdown>', f"{summary}\n", *others, "</details>\n"]
    return _question(question, "\n".join(parts))


def _question(question: Question, shown: str) -> str:
    return f'<div class="question" id="{question.id}" markdown>\n\n{shown}\n</div>\n'


def variant(label: str, question: Question, shown: Variant, see: str = "") -> str:
    """One variant of an item as Markdown."""
    data = {"kind": question.kind, "answer": json.dumps(_answers(question.kind, shown))}
    if question.kind == "numeric":
        data |= {"tolerance": str(shown.tolerance), "unit": shown.unit}
    attributes = " ".join(f"data-{name}='{value}'" for name, value in data.items())
    instruction = f" *{KINDS[question.kind]}*" if KINDS[question.kind] else ""
    code = ['```{.python .static reason="a question"}', shown.code, "```\n"] if shown.code else []
    marker = "-" if question.kind == "order" else "1."
    choices = [f"{marker} {choice.text}" for choice in shown.choices] if question.kind != "numeric" else []
    return "\n".join(
        [
            f'<div class="variant" {attributes} markdown>\n',
            f"**{label}** {shown.text}{instruction}\n",
            *code,
            *([*choices, ""] if choices else []),
            '<details class="answer" markdown>',
            "<summary>Answer</summary>\n",
            *explanations(question.kind, shown),
            f"\nSee {see}.\n" if see else "",
            "</details>\n",
            "</div>\n",
        ]
    )


def _answers(kind: str, shown: Variant) -> list[Any]:
    """What the script compares with: right choices, the right number and wrong ones, or places."""
    if kind == "numeric":
        return [float(shown.answer), *(float(choice.text) for choice in shown.choices)]
    if kind == "order":
        return [choice.key for choice in shown.choices]
    return [index for index, choice in enumerate(shown.choices) if choice.right]


def explanations(kind: str, shown: Variant) -> list[str]:
    """A list with an item for each choice in the order shown; for order, in the right order."""
    if kind == "numeric":
        unit = f" {shown.unit}" if shown.unit else ""
        wrong = [f"- **{_number(choice.text)}{unit}:** {choice.why}" for choice in shown.choices]
        return [f"- **Right: {_number(shown.answer)}{unit}.** {shown.why}", *wrong]
    if kind == "order":
        return [f"1. {c.text}: {c.why}" for c in sorted(shown.choices, key=lambda choice: choice.key)]
    return [f"1. **{'Right' if choice.right else 'Wrong'}.** {choice.why}" for choice in shown.choices]


def _number(text: str) -> str:
    """A number as one reads it.

    >>> _number("4608.0"), _number("0.18393972"), _number("3.14e+23")
    ('4,608', '0.1839', '3.14e+23')
    """
    value = float(text)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def written_out(prose: str, page: str, source: str) -> str:
    """Prose with its items of the quiz."""
    return LINE.sub(lambda match: in_place(match["name"]), prose)


# before fences are read
makeExtension = replacing("quiz", LINE, lambda match: in_place(match["name"]), 29.4)
