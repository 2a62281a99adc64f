r"""Train a helpful-only assistant with DPO on preferences that a model has made itself, and test it.

The preferences are those of a recorded transcript (`llmguide.projects.constitutional_ai.transcript`), by
default that of SmolLM2-135M-Instruct. The assistant is the helpful-only model of a run of the project, such
as one on SmolLM2. It is trained three times on the same pairs of responses, in the same number of steps. Only
the labels differ: the choices of the transcript; the rules, which know the right response; and the longer
response, a baseline without a model.

Examples::

    python -m llmguide.projects.constitutional_ai.self_preferences runs/constitutional-ai-smollm2 runs/self
    python -m llmguide.projects.constitutional_ai.self_preferences runs/constitutional-ai-smollm2 runs/qwen \
        --transcript transcript.json

References: Bai et al. 2022, arXiv:2212.08073, section 4 (preferences of a model); Rafailov et al. 2023,
arXiv:2305.18290 (DPO).

Differs: the paper trains a preference model on the probabilities of the choices, and uses it in RL. Here the
more probable response is the chosen one of a pair for DPO.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from llmguide.evaluation.metrics import wilson_interval
from llmguide.projects.constitutional_ai.data import Plan
from llmguide.projects.constitutional_ai.evaluation import (
    POLICIES,
    answer,
    held_out_questions,
    score_answers,
)
from llmguide.projects.constitutional_ai.principles import GOVERNS
from llmguide.projects.constitutional_ai.project import train_dpo
from llmguide.projects.constitutional_ai.prompts import Question
from llmguide.projects.constitutional_ai.transcript import TRANSCRIPT, Exchange, read_transcript
from llmguide.projects.run import DIGITS, Run, plan_of, read_run, write_measurement
from llmguide.runs.chat_model import open_chat
from llmguide.runs.folder import say
from llmguide.runs.options import ModelSource

UPDATES = 10  # optimizer steps
RATE = 1e-3  # peak learning rate
N_TESTED = 20  # most held-out prompts of each kind
HELPFUL_ONLY = POLICIES[0]


def by_rules(exchange: Exchange) -> float:
    """Prefer the right response."""
    return float(exchange.right == 0)


def by_length(exchange: Exchange) -> float:
    """Prefer the longer response."""
    first, second = map(len, exchange.responses)
    return float(first > second) if first != second else 0.5


def by_model(exchange: Exchange) -> float:
    """Prefer the response that the model chooses with the larger probability, over both orders."""
    preferred = exchange.prefers_first
    return float(preferred > 0.5) if preferred != 0.5 else 0.5


LABELS: dict[str, Callable[[Exchange], float]] = {"self": by_model, "longer": by_length, "rules": by_rules}


def preferences(exchanges: Sequence[Exchange], label: Callable[[Exchange], float]) -> list[dict[str, str]]:
    """Label the pairs of a transcript; pairs without a preference are dropped.

    Args:
        exchanges: Transcript with the pairs of responses.
        label: Function that prefers the first response (1), the second (0) or neither (0.5).
    """
    rows = []
    for exchange in exchanges:
        if (preferred := label(exchange)) != 0.5:
            chosen, rejected = exchange.responses if preferred else exchange.responses[::-1]
            rows.append({"prompt": exchange.question, "chosen": chosen, "rejected": rejected})
    return rows


def agreement(exchanges: Sequence[Exchange], label: Callable[[Exchange], float]) -> dict[str, Any]:
    """Compute how often a label prefers the right response: for each kind of prompt, and for all.

    Returns:
        The fraction with its Wilson interval; a pair without a preference counts one half.
    """
    found = {}
    for kind in (*GOVERNS, "all"):
        scores = [1 - abs(label(one) - by_rules(one)) for one in exchanges if kind in (one.kind, "all")]
        found[kind] = rounded(sum(scores), len(scores))
    return found


def position_bias(exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """Measure how much the choices depend on the order of the responses.

    Returns:
        The fraction of choices that are (A), and the fraction of pairs with the same choice in both orders.
    """
    chooses_a = [probability > 0.5 for one in exchanges for probability in one.chooses_a]
    return {
        "chooses_a": rounded(sum(chooses_a), len(chooses_a)),
        "decided": rounded(sum(one.decided for one in exchanges), len(exchanges)),
    }


def rounded(successes: float, n: int) -> dict[str, float]:
    """Return a fraction with its Wilson interval, rounded for a record."""
    interval = wilson_interval(successes, n)._asdict()
    return {bound: round(value, DIGITS) for bound, value in interval.items()}


def train_and_score(run: Run, start: Path, exchanges: Sequence[Exchange]) -> dict[str, Any]:
    """Train an assistant on each labeling of the pairs, and let all assistants respond to held-out prompts.

    Args:
        run: Run that the models are written to.
        start: Folder of the assistant to start from.
        exchanges: Transcript with the pairs of responses.

    Returns:
        Scores of `llmguide.projects.constitutional_ai.evaluation.score_answers`, by label; those of the
        assistant before the training under "start".
    """
    everything = held_out_questions(run.plan.n_tested)
    tests: dict[str, list[Question]] = {kind: everything[kind] for kind in GOVERNS}
    for name, label in LABELS.items():
        run.stage(name, partial(train_dpo, run, name, start, preferences(exchanges, label)))

    def score(model: Path) -> dict[str, Any]:
        chat = open_chat(ModelSource(str(model)), [], seed=0)
        texts = {
            kind: answer(chat, [question.text for question in asked], run.plan, seed=run.seed)
            for kind, asked in tests.items()
        }
        return score_answers(texts, tests)

    models = {"start": start} | {name: run.output / name for name in LABELS}
    return {name: run.stage(f"scores-{name}", partial(score, model)) for name, model in models.items()}


def main() -> None:
    """Train on a transcript, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "run", type=Path, help="folder of a run of the project, whose helpful-only model is trained"
    )
    parser.add_argument("output", type=Path, help="folder to write models and record.json to")
    parser.add_argument(
        "--transcript", type=Path, default=TRANSCRIPT, help="default: of SmolLM2-135M-Instruct"
    )
    args = parser.parse_args()
    seed = read_run(args.run)["seed"]
    plan = replace(plan_of(Plan, args.run), updates=UPDATES, dpo_rate=RATE, n_tested=N_TESTED)
    exchanges = read_transcript(args.transcript)
    run = Run("constitutional-ai", plan, seed, args.output)
    scores = train_and_score(run, args.run.resolve() / HELPFUL_ONLY, exchanges)
    results = {
        "n": len(exchanges),
        "agreement": {name: agreement(exchanges, LABELS[name]) for name in ("self", "longer")},
        "position": position_bias(exchanges),
        "scores": scores,
    }
    module = "llmguide.projects.constitutional_ai.self_preferences"
    record = args.output / "record.json"
    write_measurement(record, "constitutional-ai", module, asdict(plan), results, seed=seed)
    right = agreement(exchanges, by_model)["all"]["score"]
    say(f"the model prefers the right response in {right:.0%} of {len(exchanges)} pairs")
    for name, score in scores.items():
        accuracies = "  ".join(f"{kind} {right['score']:.0%}" for kind, right in score["right"].items())
        say(f"{name:7} right: {accuracies}")


if __name__ == "__main__":
    main()
