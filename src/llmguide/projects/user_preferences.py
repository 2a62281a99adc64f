"""Train on user feedback with DPO: of two answers to one prompt, one was liked and the other was not.

The applications collect feedback; a project without any asks a simulated rater. A comparison is the same in
both cases, ``{"prompt": ..., "chosen": ..., "rejected": ...}``, where the prompt is what
`llmguide.coding.client.Completion` sends.

As a program it writes the preferences of an application's users for ``llmguide dpo --data``::

    python -m llmguide.projects.user_preferences sqlite:///runs/mine/app.sqlite code-assistant > thumbs.jsonl
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llmguide.coding.client import Completion
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.post_training.preferences.dpo import dpo_loss, preference_objective
from llmguide.post_training.preferences.pairs import PreferenceDataset, PreferencePair
from llmguide.post_training.sft import completion
from llmguide.projects.run import Run
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.folder import say
from llmguide.tokenization.tokenizer import Tokenizer

MISTAKES = 0.1  # fraction of the simulated rater's labels that are flipped


def of_users(url: str, name: str) -> list[dict[str, Any]]:
    """Return the preferences of an application's users.

    Raises:
        ValueError: There are no comparisons yet.
    """
    rows = [row for row in _preferences(url, name) if "prompt" in row["prompt"]]
    if not rows:
        raise ValueError(f"{url}: all comparisons are of chats, but this is not a chat model")
    return rows


def for_dpo(url: str, name: str) -> list[dict[str, Any]]:
    """Return the preferences of an application's users as rows of the data of ``llmguide dpo``.

    The text before and after a cursor becomes one prompt, with the sentinels of the model's family.

    Raises:
        ValueError: There are no comparisons yet.
    """
    from llmguide.projects.code_assistant.infilling import composed  # noqa: PLC0415  # an extra

    def prompt_of(sent: dict[str, Any]) -> Any:
        fields = (sent.get(field, "") for field in ("prompt", "model", "suffix"))
        return sent.get("messages") or composed(Completion(*fields)).prompt

    return [row | {"prompt": prompt_of(row["prompt"])} for row in _preferences(url, name)]


def simulated(
    prompts: Sequence[Any],
    answers: Sequence[Sequence[str]],
    rewards: Sequence[Callable[[str], float]],
    *,
    seed: int,
    least: float = 0.0,
) -> list[dict[str, Any]]:
    """Let a simulated rater compare two answers to each prompt; ties are left out.

    Args:
        prompts: Prompts in the form that `Completion` sends.
        answers: Two lists, each with an answer to every prompt.
        rewards: Reward function of the simulated rater, for each prompt.
        seed: Seed of the flipped labels.
        least: Largest difference in reward that counts as a tie.

    >>> simulated([{"prompt": "a"}, {"prompt": "b"}], [["xx", "y"], ["x", "z"]], [len, len], seed=1)
    [{'prompt': {'prompt': 'a'}, 'chosen': 'xx', 'rejected': 'x'}]
    """
    rng, rows = random.Random(seed), []
    for prompt, reward, *texts in zip(prompts, rewards, *answers, strict=True):
        worse, better = sorted(texts, key=reward)
        if rng.random() < MISTAKES:
            worse, better = better, worse
        if abs(reward(better) - reward(worse)) > least:
            rows.append({"prompt": prompt, "chosen": better, "rejected": worse})
    return rows


def dpo_stage(
    run: Run,
    model: Any,
    tokenizer: Tokenizer,
    comparisons: Sequence[dict[str, Any]],
    ids_of: Callable[[dict[str, Any]], list[int]],
) -> dict[str, Any]:
    """Train a model on comparisons with DPO for one epoch, and save it as ``preferred``.

    Args:
        run: Run whose plan has ``batch_size``, ``context_length``, ``preference_rate`` and ``beta``.
        model: Model to train; as it is now, it is the reference model too.
        tokenizer: Tokenizer of the model.
        comparisons: Rows with prompt, chosen and rejected.
        ids_of: Function that encodes a prompt.

    Returns:
        The number of pairs and the loss curve.
    """
    end_id = tokenizer.special_tokens[END_OF_TEXT]

    def example(row: dict[str, Any], side: str) -> Any:
        return completion(ids_of(row["prompt"]), [*tokenizer.encode(row[side]), end_id])

    pairs = [PreferencePair(example(row, "chosen"), example(row, "rejected")) for row in comparisons]
    say(f"{len(pairs):,} comparisons")
    data = PreferenceDataset(pairs, seed=run.seed).with_reference(model)
    config = stage_config(run, max(1, len(pairs) // run.plan.batch_size), run.plan.preference_rate)
    objective = preference_objective(partial(dpo_loss, beta=run.plan.beta))
    result = train_stage(run, "preferences", model, data, config, loss=objective)
    run.save("models/preferred", model, tokenizer)
    return {"n_pairs": len(pairs), "curve": loss_curve(result.history)}


def _preferences(url: str, name: str) -> list[dict[str, Any]]:
    from llmguide.projects.webapp.store import Store  # noqa: PLC0415  # an extra

    store = Store(url, name)
    rows = [
        {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in store.preferences()
    ]
    store.close()
    if not rows:
        raise ValueError(f"{url} has no pair of answers to one prompt, one liked and one disliked")
    return rows


def main() -> None:
    """Print the preferences as JSON lines."""
    parser = argparse.ArgumentParser(
        prog="python -m llmguide.projects.user_preferences",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("url", help="address of the application's database")
    parser.add_argument("name", help="name of the application, such as code-assistant or creative-writing")
    args = parser.parse_args()
    try:
        rows = for_dpo(args.url, args.name)
    except ValueError as error:
        parser.error(str(error))
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
