"""Learning from verdicts: of two answers to one prompt the one that was liked, by DPO.

The applications collect verdicts; a project without any asks a simulated rater. A comparison is the same in
both cases, ``{"prompt": ..., "chosen": ..., "rejected": ...}``, where the prompt is what
`llmguide.coding.client.Completion` sends.

As a program it writes what the users of an application prefer for ``llmguide dpo --data``::

    python -m llmguide.projects.user_preferences sqlite:///runs/mine/app.sqlite code-assistant > thumbs.jsonl
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from llmguide.coding.client import Completion
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.generation.generate import generate
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.sft import completion
from llmguide.projects.run import Run, thinned
from llmguide.runs.folder import say
from llmguide.runs.post_training import loggers, resumable
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.train import train

MISTAKES = 0.1  # of a simulated rater: such a share of its verdicts is the wrong way round
TOP_P = 0.95  # of sampling, as in the applications
ROWS = 64  # that are written at a time


def of_users(url: str, name: str) -> list[dict[str, Any]]:
    """Return what the users of an application prefer.

    Args:
        url: Of its database.
        name: Of the application.

    Raises:
        ValueError: There is no comparison yet.
    """
    found = [row for row in _preferred(url, name) if "prompt" in row["prompt"]]
    if not found:
        raise ValueError(f"{url}: all comparisons are of conversations, which this model does not lead")
    return found


def for_dpo(url: str, name: str) -> list[dict[str, Any]]:
    """Return what the users of an application prefer, as rows of the data of ``llmguide dpo``.

    What stood on both sides of a cursor is one prompt, with the sentinels of the model's family.

    Args:
        url: Of its database.
        name: Of the application.

    Raises:
        ValueError: There is no comparison yet.
    """
    from llmguide.projects.code_assistant.infilling import composed  # noqa: PLC0415  # an extra

    return [
        row
        | {
            "prompt": row["prompt"].get("messages")
            or composed(
                Completion(*(row["prompt"].get(part, "") for part in ("prompt", "model", "suffix")))
            ).prompt
        }
        for row in _preferred(url, name)
    ]


def simulated(
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    tastes: Sequence[Callable[[str], float]],
    *,
    seed: int,
    least: float = 0.0,
) -> list[dict[str, Any]]:
    """Let a simulated rater compare two answers to each prompt; where both are alike, it says nothing.

    Args:
        prompts: As `Completion` sends them.
        answers: Two series of answers.
        tastes: For each prompt how much the rater likes an answer.
        seed: Of its mistakes.
        least: Difference of taste up to which two answers are alike.

    >>> simulated([{"prompt": "a"}, {"prompt": "b"}], [["xx", "y"], ["x", "z"]], [len, len], seed=1)
    [{'prompt': {'prompt': 'a'}, 'chosen': 'xx', 'rejected': 'x'}]
    """
    draw, found = random.Random(seed), []
    for prompt, taste, *texts in zip(prompts, tastes, *answers, strict=True):
        worse, better = sorted(texts, key=taste)
        if draw.random() < MISTAKES:
            worse, better = better, worse
        if abs(taste(better) - taste(worse)) > least:
            found.append({"prompt": prompt, "chosen": better, "rejected": worse})
    return found


def learn(
    run: Run,
    model: Any,
    tokenizer: Tokenizer,
    compared: Sequence[dict[str, Any]],
    ids_of: Callable[[dict[str, Any]], list[int]],
) -> dict[str, Any]:
    """Train a model on comparisons, an epoch of them, and keep it as ``preferred``.

    Args:
        run: Its plan has ``batch_size``, ``preference_rate`` and ``beta``.
        model: To start from, which is the reference too.
        tokenizer: Of the model.
        compared: The comparisons.
        ids_of: Encodes a prompt.

    Returns:
        What the stage has found.
    """
    end = tokenizer.special_tokens[END_OF_TEXT]

    def example(row: dict[str, Any], side: str) -> Any:
        return completion(ids_of(row["prompt"]), [*tokenizer.encode(row[side]), end])

    pairs = [PreferencePair(example(row, "chosen"), example(row, "rejected")) for row in compared]
    say(f"{len(pairs):,} comparisons")
    data = PreferenceDataset(pairs, seed=run.seed).with_reference(model)
    n_steps = max(1, len(pairs) // run.plan.batch_size)
    objective = preference_objective(partial(dpo_loss, beta=run.plan.beta))
    rate = run.plan.preference_rate
    curve = train_stage(run, "preferences", model, data, n_steps=n_steps, rate=rate, loss=objective)
    run.keep("models/preferred", model, tokenizer)
    return {"n_pairs": len(pairs), "curve": curve}


def train_stage(
    run: Run, name: str, model: Any, data: Any, *, n_steps: int, rate: float, **options: Any
) -> dict[str, list[float]]:
    """Train a model in a stage of a run, and return its curve.

    Args:
        run: Its plan has ``batch_size`` and ``context_length``.
        name: Of the stage.
        model: Learns, on the device of the run.
        data: Sequences of `llmguide.data.tokens.windows`.
        n_steps: Updates.
        rate: Learning rate at its peak.
        options: Of `llmguide.training.train.train`.
    """
    settings = TrainConfig(
        n_steps=n_steps,
        context_length=run.plan.context_length,  # data bring their own
        batch_size=run.plan.batch_size,
        lr=rate,
        optimizer="muon",
        log_every=max(1, n_steps // 20),
        checkpoint_every=max(1, n_steps // 10),
        seed=run.seed,
    )
    folder, logger = run.output / "checkpoints" / name, loggers(run.output / "logs" / name)
    with resumable(run.output):
        result = train(model.to(run.device), data, settings, folder=folder, logger=logger, **options)
    return thinned(result.history)


def write(
    model: Any,
    tokenizer: Tokenizer,
    rows: Sequence[list[int]],
    *,
    longest: int,
    temperature: float,
    seed: int,
) -> list[str]:
    """Let a model answer many prompts, each until it ends its text.

    Args:
        model: A decoder of `llmguide.models`.
        tokenizer: Of the model.
        rows: Ids of the prompts.
        longest: Tokens of an answer.
        temperature: 0 takes the likeliest token.
        seed: Of the draws.
    """
    device, end = next(model.parameters()).device, tokenizer.special_tokens[END_OF_TEXT]
    generator, texts = torch.Generator(device).manual_seed(seed), []
    for first in range(0, len(rows), ROWS):
        part = rows[first : first + ROWS]
        width = max(map(len, part))
        ids = torch.tensor([[end] * (width - len(row)) + row for row in part], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in part], device=device)
        sampling: Any = {"temperature": temperature, "top_p": TOP_P, "eos_id": end, "generator": generator}
        found = generate(model, ids, longest, attention_mask=mask, **sampling)[:, width:].tolist()
        texts += [tokenizer.decode(row[: row.index(end)] if end in row else row) for row in found]
    return texts


def _preferred(url: str, name: str) -> list[dict[str, Any]]:
    from llmguide.projects.webapp.store import Store  # noqa: PLC0415  # an extra

    store = Store(url, name)
    found = [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in store.preferences()
    ]
    store.close()
    if not found:
        raise ValueError(
            f"{url} holds no two answers to one prompt of which one is liked and the other is not"
        )
    return found


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m llmguide.projects.user_preferences",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("url", help="of the application's database")
    parser.add_argument("name", help="of the application, such as code-assistant or creative-writing")
    asked = parser.parse_args()
    try:
        rows = for_dpo(asked.url, asked.name)
    except ValueError as error:
        parser.error(str(error))
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
