"""What the projects share: a folder that can be gone on with, the record of a run, and the verdict on one.

A project is a chain of stages: tokens, a model, another model, scores. A stage that is done is a file, so
that a run which was killed goes on with the stage it was in, and in training with its last checkpoint. The
file also names the models that the stage left, by their content: what comes later is made from them, so a
run whose models were changed is not gone on with.

Leaves out: stages side by side; each may use all of the machine.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from platform import machine, python_version
from time import perf_counter, process_time
from typing import Any, NamedTuple, TypeVar

import torch

from llmguide.config import ModelConfig
from llmguide.data.corpora import in_validation
from llmguide.data.documents import Document
from llmguide.files import write_json
from llmguide.projects.pretrained import save_pretrained
from llmguide.runs.folder import say
from llmguide.runs.post_training import begin, wait
from llmguide.runs.tables import Columns, Table, show
from llmguide.training import distributed
from llmguide.training.locks import HOLDER, NAME, lock
from llmguide.training.train import Record

Plan = TypeVar("Plan")

POINTS = 60  # of a curve in a record: enough to see its shape
DIGITS = 4  # of its numbers


class Criterion(NamedTuple):
    """One thing that a run must show.

    Attributes:
        what: Was measured.
        found: The number.
        wanted: In words, with the number that was asked for.
        passed: Whether it is so.
    """

    what: str
    found: float
    wanted: str
    passed: bool


class Run:
    """The folder of one run of a project.

    Args:
        name: Of the project.
        plan: Its choices, a dataclass; a folder keeps to one plan.
        seed: Of everything drawn.
        output: The folder; one in which a run failed before it left anything is free for another.

    Attributes:
        device: Where models go.

    Raises:
        ValueError: The seed is negative, or the folder holds a run with other choices or is in use.
    """

    def __init__(self, name: str, plan: Any, seed: int, output: Path):
        if seed < 0:
            raise ValueError(f"seed={seed} must be 0 or more")
        self.name, self.plan, self.seed, self.output = name, plan, seed, output
        self._made = ""  # the last stage that was done in this sitting
        distributed.init_process_group()
        if distributed.world().rank == 0:
            _forget_failed_start(output)
        self.device: torch.device = begin(output, project=name, seed=seed, **asdict(plan))

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what a stage has found: from its file, if it was done before.

        Args:
            name: Of the stage, and of its file in the folder ``stages``.
            make: Does the work; what it returns can be written as JSON.

        Raises:
            ValueError: The stage was done before, but what it was made from, or the models that it left, are
                others by now.
        """
        path = self.output / "stages" / f"{name}.json"
        if not path.exists():
            before = self._models()
            clock, processor = perf_counter(), process_time()
            found = make()
            content = {
                "seconds": perf_counter() - clock,
                "processor_seconds": process_time() - processor,
                "models": {
                    model: _digest(self.output / model)
                    for model, written in self._models().items()
                    if before.get(model) != written
                },
                "found": found,
            }
            if distributed.world().rank == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, content)
            wait()
            self._made = name
        elif self._made:
            raise ValueError(
                f"{path} is from before the stage {self._made!r} was done anew; delete it and the "
                "checkpoints of its training, and the same command does that stage anew as well"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
        for model, digest in content.get("models", {}).items():
            if not (self.output / model).exists() or _digest(self.output / model) != digest:
                raise ValueError(
                    f"{self.output / model} is not what the stage {name!r} left, and what comes later is "
                    "made from it; put it back, or give another --output"
                )
        return content["found"]

    def _models(self) -> dict[str, int]:
        """Return when each model of the run was written."""
        paths = sorted(self.output.rglob("*.safetensors"))
        return {path.relative_to(self.output).as_posix(): path.stat().st_mtime_ns for path in paths}

    def keep(self, name: str, model: Any, tokenizer: Any) -> None:
        """Write a model with its tokenizer into a folder of the run, in one of the processes."""
        if distributed.world().rank == 0:
            save_pretrained(self.output / name, model, tokenizer)
        wait()

    def finish(self, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
        """Write the record of the run, ``record.json``, small enough to be kept and compared.

        Args:
            results: Numbers and texts.
            curves: By name, what `thinned` returns.
        """
        stages = [json.loads(path.read_text()) for path in (self.output / "stages").glob("*.json")]
        record = {
            "project": self.name,
            "command": shlex.join(["llmguide", *sys.argv[1:]]),
            "seed": self.seed,
            "plan": asdict(self.plan),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {"python": python_version()} | {p: _version(p) for p in ("torch", "llmguide")},
            "machine": f"{machine()}, {self.device.type}, threads: {torch.get_num_threads()}",
            # of the sittings in which the stages ended
            "seconds": round(sum(stage["seconds"] for stage in stages)),
            "processor_seconds": round(sum(stage["processor_seconds"] for stage in stages)),
            "results": results,
            "curves": curves,
        }
        if distributed.world().rank == 0:
            write_json(self.output / "record.json", record)
        say(f"\nthe record of the run: {self.output / 'record.json'}")
        say(f"does it pass?          llmguide check {self.name} {self.output}")


def small_decoder(
    vocab_size: int,
    context_length: int,
    *,
    n_layers: int,
    d_model: int,
    n_heads: int,
    dropout: float = 0.0,
) -> ModelConfig:
    """Shape of the projects' models: LLaMA's, whose feed-forward layer is 8/3 as wide as the model.

    >>> small_decoder(97, 128, n_layers=4, d_model=128, n_heads=4).n_params()
    804096
    """
    return ModelConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        d_ff=-(-8 * d_model // 3 // 8) * 8,
        positions="rope",
        norm="rmsnorm",
        activation="swiglu",
        bias=False,
        dropout=dropout,
    )


def thinned(history: Sequence[Record]) -> dict[str, list[float]]:
    """Make a curve small: the loss as a mean over stretches of steps, the validation losses as they are.

    >>> history = [Record(i, float(i), 0.1, 1.0, 9.0, val_loss=0.5 if i == 4 else None) for i in range(1, 5)]
    >>> thinned(history)
    {'step': [1, 2, 3, 4], 'loss': [1.0, 2.0, 3.0, 4.0], 'val_step': [4], 'val_loss': [0.5]}
    """
    size = -(-len(history) // POINTS)
    parts = [history[first : first + size] for first in range(0, len(history), size)]
    measured = [record for record in history if record.val_loss is not None]
    return {
        "step": [part[-1].step for part in parts],
        "loss": [round(sum(record.loss for record in part) / len(part), DIGITS) for part in parts],
        "val_step": [record.step for record in measured],
        "val_loss": [round(record.val_loss or 0.0, DIGITS) for record in measured],
    }


def require_both_sides(what: str, documents: Iterable[Document], held_out: float) -> None:
    """Refuse documents that all fall on one side, before anything is trained on them.

    Args:
        what: They are, and the option that names others.
        documents: All of them; those without text do not count.
        held_out: Share of them, by a hash of their ids.

    Raises:
        ValueError: Nothing is left to train on, or to measure.

    >>> require_both_sides("--corpus notes", [], 0.1)
    Traceback (most recent call last):
    ValueError: --corpus notes: there is no text to train on and none to measure on; ...
    """
    missing = {False: "to train on", True: "to measure on"}
    for document in documents:
        if document.text.strip():
            missing.pop(in_validation(document.id, held_out), None)
        if not missing:
            return
    raise ValueError(
        f"{what}: there is no text {' and none '.join(missing.values())}; documents are divided by a hash of "
        f"their names, {held_out:.0%} to measure on: give more or longer ones"
    )


def texts_of(output: Path) -> dict[str, str]:
    """Return the samples of a run by the step at which they were written, over all its sittings."""
    rows = map(json.loads, (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {str(row["step"]): row["text"] for row in rows if "text" in row}


def plan_of(kind: Callable[..., Plan], folder: Path) -> Plan:
    """Read the plan of a run from its folder.

    Raises:
        ValueError: It is not there, or not whole.
    """
    run, names = _begun(folder), signature(kind).parameters
    if missing := [name for name in names if name not in run]:
        raise ValueError(
            f"{folder / 'run.json'} does not say {missing[0]!r}; it is damaged or of another version: "
            "run the project anew, with another --output"
        )
    found = {name: run[name] for name in names}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in found.items()})


def require_finished(name: str, folder: Path) -> None:
    """Refuse to check what is no finished run of a project.

    Raises:
        ValueError: The folder holds no finished run of that project.
    """
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder} holds no run; llmguide project {name} --output {folder} makes one")
    found = _begun(folder).get("project")
    if found != name:
        raise ValueError(f"{folder} holds a run of {found!r}, not of {name!r}")
    if not (folder / "record.json").exists():
        raise ValueError(f"the run in {folder} is not finished; the command that began it goes on with it")


def verdict(title: str, criteria: Sequence[Criterion]) -> bool:
    """Print what was measured and what was wanted, and say whether all is so."""
    rows = [{**criterion._asdict(), "verdict": "yes" if criterion.passed else "NO"} for criterion in criteria]
    columns: Columns = {"what": str, "found": "{:.3f}".format, "wanted": str, "verdict": str}
    show(Table(title, columns, rows), as_json=False)
    passed = all(criterion.passed for criterion in criteria)
    say("passed" if passed else "not passed: see the page of the project for what to change")
    return passed


def _begun(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the project anew, with another --output"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged (no object); run the project anew, with another --output")  # noqa: TRY004  # the file is wrong
    return found


def _forget_failed_start(output: Path) -> None:
    """Remove the claim of a run whose data could not be read: the command, mended, must be able to start."""
    lock(output)
    if {path.name for path in output.iterdir()} <= {NAME, HOLDER, "run.json"}:
        (output / "run.json").unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(package: str) -> str:
    return version(package).split("+")[0]
