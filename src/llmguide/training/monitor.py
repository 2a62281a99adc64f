"""Loggers that record the metrics of a run, and the progress display in the terminal."""

import json
import logging
import sys
from functools import partial
from pathlib import Path
from time import perf_counter, time
from typing import Any, Protocol, runtime_checkable
from uuid import uuid4

from llmguide.extras import import_extra
from llmguide.files import write_text

_log = logging.getLogger("llmguide.training.train")


@runtime_checkable
class Logger(Protocol):
    """Interface of a logger of metrics and texts, which any experiment tracker can implement."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Record metrics by name."""

    def text(self, step: int, text: str) -> None:
        """Record a text."""


class JsonLinesLogger:
    """Appends one JSON object for each record to a file.

    Args:
        path: File of JSON lines; created with its folder if missing. A resumed run replaces the records of
            the steps that it repeats.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.jsonl")
    ...     JsonLinesLogger(path).log(7, {"loss": 2.5})
    ...     record = json.loads(path.read_text())
    >>> record["step"], record["loss"]
    (7, 2.5)
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._is_first = True

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append metrics."""
        self._append({"step": step, "time": time(), **values})

    def text(self, step: int, text: str) -> None:
        """Append a text."""
        self._append({"step": step, "time": time(), "text": text})

    def _append(self, record: dict[str, Any]) -> None:
        if self._is_first and self.path.exists():
            earlier = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            # a process that was killed may have left half a line
            whole = [line for line in earlier if line.endswith("\n")]
            write_text(self.path, "".join(x for x in whole if json.loads(x)["step"] < record["step"]))
        self._is_first = False
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


class TensorBoardLogger:
    """Writes event files for ``tensorboard --logdir FOLDER``.

    A resumed run hides the points of the steps that it repeats.

    Args:
        folder: Folder of the run; TensorBoard shows all runs in one parent folder together.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path):
        tensorboard = import_extra("torch.utils.tensorboard", "cli", "TensorBoardLogger")
        self._open = partial(tensorboard.SummaryWriter, str(folder))
        self.writer: Any = None

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add a point to the curve of each metric."""
        for name, value in values.items():
            self._writer(step).add_scalar(name, value, step)

    def text(self, step: int, text: str) -> None:
        """Add a text, shown verbatim."""
        self._writer(step).add_text("sample", f"```\n{text}\n```", step)

    def _writer(self, step: int) -> Any:
        if self.writer is None:  # now the step after which an earlier process was stopped is known
            self.writer = self._open(purge_step=step)
        return self.writer


class WandbLogger:
    """Sends metrics to Weights & Biases; with ``WANDB_MODE=offline`` it only writes them to the folder.

    A resumed run continues its curves; Weights & Biases ignores the points of the steps that it repeats.

    Args:
        project: Name of the project on Weights & Biases.
        folder: Folder of the run, whose name the run gets there.

    Raises:
        ModuleNotFoundError: wandb is not installed.
    """

    def __init__(self, project: str, folder: str | Path):
        wandb = import_extra("wandb", "wandb", "WandbLogger")
        folder = Path(folder)
        name = folder / "wandb-id"
        if not name.exists():
            write_text(name, uuid4().hex)
        run = json.loads(path.read_text(encoding="utf-8")) if (path := folder / "run.json").exists() else {}
        self._run = wandb.init(
            project=project,
            name=folder.name,
            id=name.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(folder),
            config=run,
        )

    def log(self, step: int, values: dict[str, float]) -> None:
        """Add a point to the curve of each metric."""
        self._run.log(values, step=step)

    def text(self, step: int, text: str) -> None:
        """Add a text to the history."""
        self._run.log({"sample": text}, step=step)


class Loggers:
    """Passes metrics and texts on to several loggers.

    >>> loggers = Loggers()
    >>> loggers.log(1, {"loss": 2.0})
    """

    def __init__(self, *loggers: Logger):
        self.loggers = loggers

    def log(self, step: int, values: dict[str, float]) -> None:
        """Pass metrics on."""
        for logger in self.loggers:
            logger.log(step, values)

    def text(self, step: int, text: str) -> None:
        """Pass a text on."""
        for logger in self.loggers:
            logger.text(step, text)


class Console:
    """Shows progress: a bar in a terminal, otherwise a line every few steps through ``logging``.

    The bar needs rich and a terminal. The lines go to the logger ``llmguide.training.train`` at level INFO,
    which is silent unless a program enables it: ``logging.basicConfig(level=logging.INFO)``.

    Args:
        n_steps: Number of steps of the run.
        done: Number of steps taken before this process, from 0.
        every: Number of steps between two lines of the log.
        quiet: Whether to show nothing, as in all processes but one.
    """

    def __init__(self, n_steps: int, *, done: int = 0, every: int = 10, quiet: bool = False):
        self.n_steps = n_steps
        self.every = every
        self.quiet = quiet
        self._time_left = TimeLeft(n_steps)
        self._bar: Any = None
        if sys.stderr.isatty() and not quiet:
            self._bar = _bar()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=n_steps, completed=done)

    def __enter__(self) -> "Console":
        """Start the progress bar."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the progress bar in its last state."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, step: int, values: dict[str, float]) -> None:
        """Update the bar; it is redrawn at most ten times a second."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=describe(values))
        is_due = step % self.every == 0 or step == self.n_steps or "val_loss" in values
        left = self._time_left.after(step)
        if not self.quiet and is_due and (self._bar is None or "val_loss" in values):
            self.write(f"step {step}/{self.n_steps}  {describe(values)}{left}")

    def write(self, text: str) -> None:
        """Print a text above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            _log.info(text)


class TimeLeft:
    """Estimates the time left of a run from the steps after the first, which is the slowest.

    Args:
        n_steps: Number of steps of the run.
    """

    def __init__(self, n_steps: int):
        self.n_steps = n_steps
        self._first: tuple[int, float] | None = None  # the first step of this process and its end

    def after(self, step: int) -> str:
        """Return the estimate after a step, or an empty text before the second and after the last step."""
        if self._first is None:
            self._first = step, perf_counter()
        first, began = self._first
        if not first < step < self.n_steps:
            return ""
        return f"  {duration((perf_counter() - began) / (step - first) * (self.n_steps - step))} left"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours.

    >>> [duration(seconds) for seconds in (0.4, 89, 600, 9000)]
    ['0 s', '89 s', '10 min', '2.5 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe(values: dict[str, float]) -> str:
    """Format the metrics of a step for the terminal.

    >>> describe({"loss": 2.30259, "lr": 6e-4, "grad_norm": 1.0, "tokens_per_s": 51234.5})
    'loss 2.3026  lr 6.00e-04  norm 1.00  51,234 tokens/s'
    >>> describe({"loss": 0.69315, "pairs_per_s": 2.64})
    'loss 0.6931  2.6 pairs/s'
    """
    speeds = [name for name in values if name.endswith("_per_s")]
    units = {name: name.removesuffix("_per_s").replace("_", " ") for name in speeds}
    forms = {
        "loss": "loss {:.4f}",
        "val_loss": "val {:.4f}",
        **{name: f"{name} {{:.3g}}" for name in ("reward", "kl", "entropy", "length")},
        "lr": "lr {:.2e}",
        "grad_norm": "norm {:.2f}",
        **{name: f"{{:,.{int(values[name] < 10)}f}} {unit}/s" for name, unit in units.items()},
        "mfu": "MFU {:.0%}",
    }
    return "  ".join(form.format(values[name]) for name, form in forms.items() if name in values)


def _bar() -> Any:
    try:
        from rich.console import Console as Terminal  # noqa: PLC0415  # an extra
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415
        from rich.progress import TimeRemainingColumn as Remaining  # noqa: PLC0415
    except ImportError:
        return None
    columns = (BarColumn(20), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    return Progress(*columns, console=Terminal(stderr=True))
