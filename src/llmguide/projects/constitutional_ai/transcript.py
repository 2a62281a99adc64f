r"""Record a model as its own critic: it criticizes, revises and compares responses to a fixed set of prompts.

The prompts are a sample of the training prompts of this project. Each has two responses, of which the rules
know the right one, in a random order. The model compares them, in both orders. For the first prompts of each
kind, it also criticizes and revises the first response. After a prompt that ends with "(", the probability of
choosing A is

$$p = \frac{e^{z_A}}{e^{z_A} + e^{z_B}},$$

with the logits $z$ of the tokens A and B. Not every endpoint returns logits after such a prompt, so for a
model behind a URL $p$ is 1 or 0 by the letter that it names, and 1/2 if it names none.

Examples::

    python -m llmguide.projects.constitutional_ai.transcript smollm2-135m-instruct transcript.json
    python -m llmguide.projects.constitutional_ai.transcript Qwen/Qwen3-8B transcript.json \
        --url http://localhost:8000/v1

References: Bai et al. 2022, arXiv:2212.08073, section 4.1 (probabilities of the choices as preferences).

Differs: the paper samples both responses from the assistant, and shows each pair in one random order.
"""

import argparse
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import exp
from pathlib import Path
from typing import NamedTuple

from llmguide.coding.client import Endpoint, Request, Response
from llmguide.files import write_json
from llmguide.projects.constitutional_ai.principles import (
    GOVERNS,
    critique_request,
    named_choice,
    preference_request,
    principle_of,
    revision_request,
)
from llmguide.projects.constitutional_ai.prompts import Kind, Question, questions
from llmguide.projects.constitutional_ai.self_critique import choice_prompt, logit_margins, turn
from llmguide.projects.generation import respond
from llmguide.projects.run import DIGITS
from llmguide.runs.chat_model import open_chat
from llmguide.runs.folder import say
from llmguide.runs.options import ModelSource

TRANSCRIPT = Path(__file__).with_name("transcript.json")  # of SmolLM2-135M-Instruct
N_QUESTIONS = 20  # prompts of each kind
N_CRITICIZED = 4  # prompts of each kind of which a response is criticized and revised
MAX_NEW_TOKENS = 32  # of a critique or revision
SEED = 0  # of the prompts and the order of their responses


class Exchange(NamedTuple):
    """What a model said about two responses to a prompt.

    Attributes:
        kind: Kind of the prompt.
        question: Prompt of the user.
        responses: Two responses, one of them right, in a random order.
        right: Index of the right response, 0 or 1; the model does not see it.
        critique: The model's critique of the first response; empty if it was not asked for one.
        revision: The model's revision of the first response; empty like the critique.
        chooses_a: Probability of choosing (A), with the first response as (A), then with the second as (A).
    """

    kind: Kind
    question: str
    responses: tuple[str, str]
    right: int
    critique: str
    revision: str
    chooses_a: tuple[float, float]

    @property
    def prefers_first(self) -> float:
        """Preference for the first response, 0 to 1: the mean over both orders, so position cancels out."""
        return (self.chooses_a[0] + 1 - self.chooses_a[1]) / 2

    @property
    def decided(self) -> bool:
        """Whether the model chooses the same response in both orders."""
        first, second = self.chooses_a
        return (first - 0.5) * (second - 0.5) < 0


class Model(NamedTuple):
    """A model that answers requests.

    Attributes:
        say: Function that responds to each request.
        chooses_a: Function that returns the probability of (A) in each request to choose between (A) and (B).
    """

    say: Callable[[Sequence[str]], list[str]]
    chooses_a: Callable[[Sequence[str]], list[float]]


def read_transcript(path: Path = TRANSCRIPT) -> list[Exchange]:
    """Read a transcript; by default, that of SmolLM2-135M-Instruct.

    Args:
        path: JSON file that `main` has written.

    Raises:
        ValueError: The file holds no transcript.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["exchanges"]
        return [Exchange(**row)._replace(chooses_a=tuple(row["chooses_a"])) for row in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no transcript: {error!r}") from error


def sample_prompts(n: int) -> list[tuple[Question, bool]]:
    """Sample training prompts of each kind, each with whether its right response comes first.

    Args:
        n: Most prompts of each kind.
    """
    rng, by_kind = random.Random(SEED), dict[str, list[Question]]()
    for question in questions("train"):
        by_kind.setdefault(question.kind, []).append(question)
    sampled = [q for kind in GOVERNS for q in rng.sample(by_kind[kind], min(n, len(by_kind[kind])))]
    return [(question, rng.random() < 0.5) for question in sampled]


def exchanges(model: Model, prompts: Sequence[tuple[Question, bool]]) -> list[Exchange]:
    """Let a model compare the responses to prompts, and criticize and revise some of them.

    Args:
        model: Model to ask.
        prompts: Prompts, each with whether its right response comes first.
    """
    rows = [
        (question, (question.good, question.bad) if right_first else (question.bad, question.good))
        for question, right_first in prompts
    ]
    in_order = model.chooses_a([preference_request(q.text, a, b, [principle_of(q)]) for q, (a, b) in rows])
    swapped = model.chooses_a([preference_request(q.text, b, a, [principle_of(q)]) for q, (a, b) in rows])
    found = [
        Exchange(q.kind, q.text, both, both.index(q.good), "", "", (first, second))
        for (q, both), first, second in zip(rows, in_order, swapped, strict=True)
    ]
    seen, criticized = Counter[str](), []
    for i, (question, both) in enumerate(rows):
        seen[question.kind] += 1
        if seen[question.kind] <= N_CRITICIZED:
            criticized.append((i, question, both[0]))
    critiques = model.say([critique_request(q.text, text, principle_of(q)) for _, q, text in criticized])
    revisions = model.say(
        [
            revision_request(q.text, text, critique, principle_of(q))
            for (_, q, text), critique in zip(criticized, critiques, strict=True)
        ]
    )
    for (i, *_), critique, revision in zip(criticized, critiques, revisions, strict=True):
        found[i] = found[i]._replace(critique=critique, revision=revision)
    return found


def local_model(name: str) -> Model:
    """Open a model on this machine.

    Args:
        name: Packaged name, folder or hub name of a chat model.
    """
    chat = open_chat(ModelSource(name), [], seed=SEED)

    def say_all(requests: Sequence[str]) -> list[str]:
        return respond(chat, [turn(chat, request) for request in requests], MAX_NEW_TOKENS)

    def chooses_a(requests: Sequence[str]) -> list[float]:
        margins = logit_margins(chat, [choice_prompt(chat, request) for request in requests], "A", "B")
        return [round(1 / (1 + exp(-margin)), DIGITS) for margin in margins]

    return Model(say_all, chooses_a)


def remote_model(name: str, ask: Callable[[Request], Response]) -> Model:
    """Return a model behind an OpenAI-compatible URL, whose choices are read from its text.

    Args:
        name: Name of the model at the endpoint.
        ask: Function that sends a request, such as `llmguide.coding.client.Endpoint.ask`.
    """

    def say_all(requests: Sequence[str]) -> list[str]:
        chats = [Request(({"role": "user", "content": text},), name, max_tokens=120) for text in requests]
        return [ask(chat).text.strip() for chat in chats]

    def chooses_a(requests: Sequence[str]) -> list[float]:
        return [named_choice(text) for text in say_all(requests)]

    return Model(say_all, chooses_a)


def main() -> None:
    """Record a transcript."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="packaged name, folder or hub name; with --url, the name there")
    parser.add_argument("output", type=Path, help="JSON file to write")
    parser.add_argument("--url", help="base URL of an OpenAI-compatible endpoint, up to /v1")
    parser.add_argument(
        "--n-questions", type=int, default=N_QUESTIONS, help="most prompts of each kind (%(default)s)"
    )
    args = parser.parse_args()
    if args.url:
        key = os.environ.get("OPENAI_API_KEY", "")
        model = remote_model(args.model, Endpoint(args.url.rstrip("/"), key).ask)
    else:
        model = local_model(args.model)
    found = exchanges(model, sample_prompts(args.n_questions))
    content = {
        "model": args.model,
        "date": datetime.now(UTC).date().isoformat(),
        "exchanges": [exchange._asdict() for exchange in found],
    }
    write_json(args.output, content)
    prefers_right = sum((one.prefers_first > 0.5) == (one.right == 0) for one in found)
    say(f"{args.model} prefers the right response to {prefers_right} of {len(found)} prompts")


if __name__ == "__main__":
    main()
