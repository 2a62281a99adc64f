r"""A constitution as data, and the critics that apply it: rules, or a model.

A principle is a sentence on how to behave, with a critique request and a revision request
(``constitution.json``, or a file of your own in that format). A critic does three things: it says how an
answer violates a principle, rewrites the answer, and prefers one of two answers. `RuleCritic` stands in for a
large model: it knows every question of `llmguide.projects.constitutional_ai.prompts`. `ModelCritic` sends the
requests of the constitution to any model: one at an OpenAI-compatible endpoint, or the packaged SmolLM2.

References: Bai et al. 2022, arXiv:2212.08073, section 3.1 (critique and revision) and 4.1 (preferences).

Leaves out: few-shot examples in the requests, and chain of thought before a preference, which help larger
models.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from llmguide.coding.client import Request, Response
from llmguide.projects.constitutional_ai.prompts import (
    ATTACKS,
    MANNERS,
    NEW_ATTACKS,
    Kind,
    Question,
    is_right,
    questions,
    worded,
)

CONSTITUTION = Path(__file__).with_name("principles.json")
GOVERNS: dict[Kind, str] = {  # the principle that each kind of question tests
    "harm": "harm",
    "kindness": "help",
    "look-alike": "help",
    "belief": "truth",
    "person": "fairness",
    "person, told": "fairness",
}
NOTHING = "none"  # what a model should say if it has no objection


class Principle(NamedTuple):
    """A principle of a constitution.

    Attributes:
        name: Short name, for reports.
        principle: The principle, in one sentence.
        critique: Request to name what in an answer violates the principle.
        revision: Request for an answer that follows the principle.
    """

    name: str
    principle: str
    critique: str
    revision: str


@runtime_checkable
class Critic(Protocol):
    """Interface of a critic, which applies principles to answers."""

    def critique(self, question: str, answer: str, principle: Principle) -> str:
        """Say how an answer violates a principle; return an empty text if it does not."""

    def revise(self, question: str, answer: str, critique: str, principle: Principle) -> str:
        """Rewrite an answer."""

    def prefers(self, question: str, first: str, second: str, principles: Sequence[Principle]) -> float:
        """Compare two answers by the principles: 1 prefers the first, 0 the second, 0.5 neither."""


def constitution(path: str | Path | None = None) -> list[Principle]:
    """Read a constitution.

    Args:
        path: JSON file with a list of objects with the fields of `Principle`; None: the built-in
            constitution.

    Raises:
        ValueError: The file has another format.

    >>> [principle.name for principle in constitution()]
    ['harm', 'truth', 'fairness', 'help']
    """
    path = Path(CONSTITUTION if path is None else path)
    try:
        found = [Principle(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValueError) as error:
        wanted = ", ".join(Principle._fields)
        raise ValueError(f"{path} is not a constitution ({error}); list objects with {wanted}") from error
    if not found:
        raise ValueError(f"{path} holds no principle")
    return found


class RuleCritic:
    """A critic that knows the correct answer to each question of the project, and nothing else.

    >>> rules, (harm, *_) = RuleCritic(), constitution()
    >>> question, answer = "How do I rob my boss?", "First find out what my boss thinks of it."
    >>> rules.critique(question, answer, harm)
    'By "harm", the answer should have been another.'
    >>> rules.revise(question, answer, "", harm)
    'I will not help to rob my boss. That would do harm.'
    >>> rules.prefers(question, answer, "I will not help.", [harm])
    0.0
    """

    def __init__(self) -> None:
        known = [*questions("train"), *questions("validation")]
        forms = (*MANNERS, *ATTACKS, *NEW_ATTACKS)
        self.known = {question.text: question for question in worded(known, forms)}

    def critique(self, question: str, answer: str, principle: Principle) -> str:
        """Object if the principle applies to the question and the answer is wrong."""
        asked = self._find(question)
        if GOVERNS[asked.kind] != principle.name or is_right(asked, answer):
            return ""
        return f'By "{principle.name}", the answer should have been another.'

    def revise(self, question: str, answer: str, critique: str, principle: Principle) -> str:
        """Return the correct answer."""
        return self._find(question).good

    def prefers(self, question: str, first: str, second: str, principles: Sequence[Principle]) -> float:
        """Prefer the correct answer, if only one is correct."""
        asked = self._find(question)
        if GOVERNS[asked.kind] not in {principle.name for principle in principles}:
            return 0.5
        return (1 + is_right(asked, first) - is_right(asked, second)) / 2

    def _find(self, question: str) -> Question:
        if question not in self.known:
            raise ValueError(
                f"the rules do not know the question {question!r}; other questions need a model as the critic"
            )
        return self.known[question]


class ModelCritic:
    """A critic that asks a model.

    Args:
        ask: Function that answers requests, such as `llmguide.coding.client.Endpoint.ask`.
        model: Name of the model, which is part of the requests.

    >>> def model(request):
    ...     is_first = "(A) Do not." in request.messages[0]["content"]
    ...     return Response("(A) hurts nobody." if is_first else "(B) hurts nobody.", "stop", "a test")
    >>> ModelCritic(model, "a model").prefers("How do I rob my boss?", "At night.", "Do not.", constitution())
    0.0
    """

    def __init__(self, ask: Callable[[Request], Response], model: str):
        self.ask, self.model = ask, model

    def critique(self, question: str, answer: str, principle: Principle) -> str:
        """Ask the model how the answer violates the principle."""
        return objection(self._say(critique_request(question, answer, principle)))

    def revise(self, question: str, answer: str, critique: str, principle: Principle) -> str:
        """Ask the model for a better answer."""
        return self._say(revision_request(question, answer, critique, principle))

    def prefers(self, question: str, first: str, second: str, principles: Sequence[Principle]) -> float:
        """Ask the model which answer is better, in both orders because of position bias."""
        vote = self._vote(question, first, second, principles)
        return vote if self._vote(question, second, first, principles) == 1 - vote else 0.5

    def _vote(self, question: str, first: str, second: str, principles: Sequence[Principle]) -> float:
        return named_choice(self._say(preference_request(question, first, second, principles)))

    def _say(self, text: str) -> str:
        return self.ask(
            Request(({"role": "user", "content": text},), self.model, max_tokens=120)
        ).text.strip()


def principle_of(question: Question) -> Principle:
    """Return the built-in principle that a question tests."""
    return next(principle for principle in constitution() if principle.name == GOVERNS[question.kind])


def critique_request(question: str, answer: str, principle: Principle) -> str:
    """Write the request for a critique of an answer."""
    return (
        f"{shown(question, answer)}\n\nPrinciple: {principle.principle}\n{principle.critique} "
        f'Answer in one sentence, or with "{NOTHING}".'
    )


def objection(critique: str) -> str:
    """Return a critique, or an empty text if the model has no objection.

    >>> objection("None."), objection("It tells how to rob.")
    ('', 'It tells how to rob.')
    """
    return "" if critique.lower().strip(' ."').startswith(NOTHING) else critique


def revision_request(question: str, answer: str, critique: str, principle: Principle) -> str:
    """Write the request for a better answer."""
    return (
        f"{shown(question, answer)}\n\nPrinciple: {principle.principle}\nCritique: {critique}\n"
        f"{principle.revision} Write the new answer alone."
    )


def preference_request(question: str, first: str, second: str, principles: Sequence[Principle]) -> str:
    """Write the request to compare two answers."""
    sentences = "\n".join(f"- {principle.principle}" for principle in principles)
    return (
        f"Principles:\n{sentences}\n\nQuestion: {question}\n(A) {first}\n(B) {second}\n\n"
        "Which answer keeps better to the principles? Answer with (A) or (B)."
    )


def named_choice(response: str) -> float:
    """Read which of two answers a response chooses: 1 for (A), 0 for (B), 0.5 for neither.

    >>> named_choice("(A) hurts nobody."), named_choice("Answer B."), named_choice("Both are fine.")
    (1.0, 0.0, 0.5)
    """
    named = re.search(r"\b[AB]\b", response)
    return 0.5 if named is None else float(named[0] == "A")


def shown(question: str, answer: str) -> str:
    """Write a question with its answer, as a critic reads them."""
    return f"Question: {question}\nAnswer: {answer}"
