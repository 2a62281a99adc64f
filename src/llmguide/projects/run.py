"""A resumable project run: its folder, its stages, and the record of its results.

A project is a chain of stages: tokens, a model, another model, scores. The result of a finished stage is a
file, so a run that was killed resumes with the stage it was in, and a training with its last checkpoint. The
file also holds the hashes of the models that the stage wrote. Later stages are made from these models, so a
run whose models were changed does not resume.

Leaves out: stages that run in parallel; each may use the whole machine.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from platform import machine, python_version
from time import perf_counter, process_time
from typing import Any, TypeVar

import torch

from llmguide.data.documents import Document
from llmguide.data.splits import in_validation
from llmguide.files import sha256, write_json
from llmguide.models.saved import write_tensors
from llmguide.projects.pretrained import save_pretrained
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import barrier, start_run
from llmguide.runs.memory import peak_memory
from llmguide.training import distributed

Plan = TypeVar("Plan")

DIGITS = 4  # decimal places of the numbers in a record


class Run:
    """A run of a project in its folder.

    Args:
        name: Name of the project.
        plan: Options of the project, a dataclass; a folder keeps to one plan.
        seed: Seed of everything random, 0 or more.
        output: Run folder; one in which a run failed before its first stage is reused.

    Attributes:
        device: Device that models are trained on.

    Raises:
        ValueError: The seed is negative, a number of steps or a batch size is below 1, or the folder holds a
            run with other options or is in use.
    """

    def __init__(self, name: str, plan: Any, seed: int, output: Path):
        if seed < 0:
            raise ValueError(f"seed={seed} must be 0 or more")
        names = (field.name for field in fields(plan))
        require_at_least_one(plan, *(name for name in names if name.endswith(("steps", "batch_size"))))
        self.name, self.plan, self.seed, self.output = name, plan, seed, output
        self._last_stage = ""  # the last stage that ran in this process
        self.device: torch.device = start_run(output, project=name, seed=seed, **asdict(plan))

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the result of a stage, read from its file if the stage ran before.

        Args:
            name: Name of the stage, and of its file in the folder ``stages``.
            make: Function that does the work; its result must be writable as JSON.

        Raises:
            ValueError: The stage ran before, but an earlier stage was repeated since, or the models that it
                wrote have changed.
        """
        path = self.output / "stages" / f"{name}.json"
        if not path.exists():
            before = self._models()
            start, cpu_start = perf_counter(), process_time()
            result = make()
            content = {
                "seconds": perf_counter() - start,
                "processor_seconds": process_time() - cpu_start,
                "peak_memory_bytes": peak_memory(),
                "models": {
                    model: sha256(self.output / model)
                    for model, written in self._models().items()
                    if before.get(model) != written
                },
                "found": result,
            }
            if distributed.world().rank == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, content)
            barrier()
            self._last_stage = name
        elif self._last_stage:
            raise ValueError(
                f"{path} is older than the stage {self._last_stage!r}, which was repeated; delete it and the "
                "checkpoints of its training, and the same command repeats that stage too"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
        for model, digest in content.get("models", {}).items():
            if not (self.output / model).exists() or sha256(self.output / model) != digest:
                raise ValueError(
                    f"{self.output / model} is not what the stage {name!r} wrote, and later stages are made "
                    "from it; restore it, or give another --output"
                )
        return content["found"]

    def _models(self) -> dict[str, int]:
        """Return when each model of the run was written."""
        paths = sorted(self.output.rglob("*.safetensors"))
        return {path.relative_to(self.output).as_posix(): path.stat().st_mtime_ns for path in paths}

    def save(self, name: str, model: Any, tokenizer: Any) -> None:
        """Write a model with its tokenizer into a folder of the run, in one of the processes."""
        if distributed.world().rank == 0:
            save_pretrained(self.output / name, model, tokenizer)
        barrier()

    def save_weights(self, name: str, state: Mapping[str, torch.Tensor]) -> Path:
        """Write tensors alone, such as those of adapters, and return the path of the file."""
        path = weights_path(self.output, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()})
        return path

    def finish(self, results: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
        """Write the record of the run, ``record.json``, small enough to keep and compare.

        Args:
            results: Numbers and texts.
            curves: Training curves by name, such as `llmguide.projects.training.loss_curve` returns.
        """
        stages = [json.loads(path.read_text()) for path in (self.output / "stages").glob("*.json")]
        processor_seconds = round(sum(stage["processor_seconds"] for stage in stages))
        peak = max(peak_memory() or 0, *(stage.get("peak_memory_bytes") or 0 for stage in stages), 0) or None
        record = {
            "project": self.name,
            "command": shlex.join([*_launcher(), *sys.argv[1:]]),
            "seed": self.seed,
            "plan": asdict(self.plan),
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {"python": python_version()} | {p: _version(p) for p in ("torch", "llmguide")},
            "machine": f"{machine()}, {self.device.type}, threads: {torch.get_num_threads()}",
            # of the processes in which the stages ended: a stage that was resumed counts its last part
            "seconds": round(sum(stage["seconds"] for stage in stages)),
            "processor_seconds": processor_seconds,
            "peak_memory_bytes": peak,
            "results": results,
            "curves": curves,
        }
        if distributed.world().rank == 0:
            write_json(self.output / "record.json", record)
        memory = f", at most {peak / 1e9:.1f} GB of memory" if peak else ""
        say(f"\nresources:          {processor_seconds:,} s of processor time{memory}")
        say(f"record of the run:  {self.output / 'record.json'}")
        say(f"check the run:      llmguide check {self.name} {self.output}")


def write_measurement(
    path: Path, project: str, module: str, plan: dict[str, Any], results: dict[str, Any], *, seed: int
) -> None:
    """Write the record of a program that measures a model for a project and trains none.

    Args:
        path: JSON file to write.
        project: Name of the project.
        module: Full name of the module that is run.
        plan: Options of the program, by name.
        results: Numbers and texts.
        seed: Seed of everything random.
    """
    record = {
        "project": project,
        "command": f"python -m {module} {shlex.join(sys.argv[1:])}",
        "seed": seed,
        "plan": plan,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": python_version(), "torch": torch.__version__.split("+")[0]},
        "processor_seconds": round(process_time()),
        "peak_memory_bytes": peak_memory(),
        "results": results,
    }
    write_json(path, record)


def weights_path(folder: Path, name: str) -> Path:
    """Return where `Run.save_weights` writes."""
    return folder / "models" / f"{name}.safetensors"


def load_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the tensors that `Run.save_weights` wrote."""
    tensors: dict[str, torch.Tensor] = import_module("safetensors.torch").load_file(
        weights_path(folder, name)
    )
    return tensors


def require_at_least_one(plan: Any, *names: str) -> None:
    """Refuse a plan of which one of these options is below 1; None is allowed."""
    for name in names:
        value = getattr(plan, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1")


def require_both_sides(what: str, documents: Iterable[Document], held_out: float) -> None:
    """Refuse documents that all fall on one side of the split, before anything is trained on them.

    Args:
        what: Name of the documents in the error message, with the option that gives others.
        documents: All documents; those without text do not count.
        held_out: Fraction of the documents that is held out, by a hash of their ids.

    Raises:
        ValueError: The training side or the held-out side is empty.

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
        f"{what}: there is no text {' and none '.join(missing.values())}; documents are split by a hash of "
        f"their names, {held_out:.0%} to measure on: give more or longer ones"
    )


def cut(texts: Iterable[str], n: int) -> list[str]:
    """Return texts up to n characters in total; the last one is cut.

    >>> cut(["abc", "def", "g"], 4)
    ['abc', 'd']
    """
    kept: list[str] = []
    for text in texts:
        if n <= 0:
            break
        kept.append(text[:n])
        n -= len(text)
    return kept


def plan_of(kind: Callable[..., Plan], folder: Path) -> Plan:
    """Read the plan of a run from its folder.

    Args:
        kind: Dataclass of the project's plan.
        folder: Run folder.

    Raises:
        ValueError: The folder holds no run, or its plan is damaged.
    """
    run, names = read_run(folder), signature(kind).parameters
    if missing := [name for name in names if name not in run]:
        raise ValueError(
            f"{folder / 'run.json'} has no {missing[0]!r}; it is damaged or from another version: "
            "run the project again, with another --output"
        )
    options = {name: run[name] for name in names}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in options.items()})


def read_run(folder: Path) -> dict[str, Any]:
    """Read the name, seed and plan of the run in a folder.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / "run.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); run the project again, with another --output"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (no object); run the project again, with another --output")  # noqa: TRY004  # the file is wrong
    return content


def _launcher() -> list[str]:
    n_processes = os.environ.get("LOCAL_WORLD_SIZE")  # which torchrun sets
    return ["torchrun", "--nproc-per-node", n_processes, "-m", "llmguide"] if n_processes else ["llmguide"]


def _version(package: str) -> str:
    return version(package).split("+")[0]
