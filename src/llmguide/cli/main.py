"""The command ``llmguide``: run the module of a command, and report errors in one line.

Only the module of the requested command is imported, so ``llmguide --help`` and the calculators do not import
torch. A command is a function, or a table of functions; tyro derives options and help from signatures and
docstrings. To add one, write a module of `llmguide.cli` and a line in `COMMANDS`.
"""

import ast
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any, get_args

from llmguide import __version__

COMMANDS = {
    "estimate": "cost of a model: parameters, FLOPs, memory, time, money, optimal size",
    "pretrain": "train a small GPT from scratch, on the packaged speeches or on your text",
    "generate": "complete a prompt with your model or one of the Hugging Face hub",
    "chat": "talk to a chat model of yours or of the Hugging Face hub",
    "evaluate": "score a model on TruthfulQA, BBQ and LAMBADA",
    "export": "write a model for transformers, vLLM, PEFT and llama.cpp",
    "sft": "supervised fine-tuning on conversations",
    "reward": "train a reward model on comparisons of responses",
    "ppo": "maximize a reward model with PPO",
    "grpo": "GRPO and its variants on verifiable rewards or a reward model",
    "dpo": "train on comparisons directly, with DPO",
    "learn": "solve the exercises of the guide in your editor, checked at each save",
    "verify": "run the solutions of a certificate again, in a sandbox",
    "class": "for teachers: hand out exercises, collect answers, grade them in a sandbox",
    "project": "run one of the projects, from data to evaluation",
    "start": "start a project as an assignment: specification, stubs, tests, report",
    "check": "pass or fail a run of a project, an assignment, or your own model",
    "app": "serve a project's application: a model behind a web page with a database",
    "serve": "serve the guide locally, with real PyTorch",
}

EXAMPLES = """\
  llmguide pretrain                                  a few minutes on two cores, then it generates text
  llmguide generate runs/pretrain "My fellow citizens"
  llmguide pretrain --corpus books/ --output runs/books
  llmguide sft                                       a minute, in a world where the optimum is known
  llmguide chat smollm2-135m-instruct                or a model of yours, after llmguide sft --data
  llmguide evaluate runs/pretrain --limit 200        TruthfulQA, BBQ and LAMBADA
  llmguide export runs/pretrain exported
  llmguide reward --data vader                       sentiment preferences of human raters, ten minutes
  llmguide ppo                                       starts from both, like llmguide grpo and llmguide dpo
  llmguide learn                                     exercises in your editor: build a GPT step by step
  llmguide learn --certificate ada.json              your solutions in a file, for llmguide verify
  llmguide class new week-1 --exercises temperature top-p
  llmguide serve                                     the guide, whose cells run in your Python
  llmguide project character-model                   and llmguide check character-model
  llmguide start character-model                     the same project, written by you from stubs
  llmguide app creative-writing                      after llmguide project creative-writing
  llmguide estimate params llama-3-8b
  llmguide estimate train llama-2-7b --tokens 2e12 --gpu a100 --n-gpus 1024
"""

TRAINING = {"pretrain", "sft", "reward", "ppo", "grpo", "dpo"}
RESUMABLE = TRAINING | {"project"}
FOLDERS = "llmguide.runs.folder"  # imports torch
TERMINATED = 128 + signal.SIGTERM  # exit status, as of a shell
# short names, and those of transformers, TRL and PEFT, for the options of the training commands
ALIASES = {
    "--accumulation": "--gradient-accumulation-steps",
    "--dataset-name": "--data",
    "--gradient-checkpointing": "--activation-checkpointing",
    "--learning-rate": "--lr",
    "--lora-r": "--lora-rank",
    "--lora-target-modules": "--lora-targets",
    "--max-completion-length": "--max-new-tokens",
    "--max-seq-length": "--max-length",
    "--max-steps": "--n-steps",
    "--model-name-or-path": "--model",
    "--num-generations": "--group-size",
    "--num-train-epochs": "--epochs",
    "--output-dir": "--output",
    "--per-device-train-batch-size": "--batch-size",
    "--recompute": "--activation-checkpointing",
    "--save-steps": "--checkpoint-every",
    "bf16": "bfloat16",
    "fp32": "float32",
}
# options of the same libraries whose values differ from ours
OTHERS = {
    "--bf16": "--precision bfloat16",
    "--fp16": "--precision bfloat16",
    "--load-in-4bit": "--quantize nf4",
    "--report-to": "--wandb PROJECT",
    "--resume-from-checkpoint": "the same command again, which goes on from the newest checkpoint",
    "--use-peft": "--lora-rank 16",
}


def usage() -> str:
    """Return the text of ``llmguide --help``.

    >>> print(usage().splitlines()[0])
    usage: llmguide COMMAND [OPTIONS]
    """
    commands = "\n".join(f"  {name:10} {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: llmguide COMMAND [OPTIONS]\n\n"
        "Large language models, from the arithmetic to the training run.\n\n"
        f"commands:\n{commands}\n\nexamples:\n{EXAMPLES}\n"
        "Options of a command: llmguide COMMAND --help. Version: llmguide --version."
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Command-line arguments after ``llmguide``; None: those of this process.

    Returns:
        The exit status: 0; 1 if an input is invalid or missing; 2 for a wrong command line; 130 after Ctrl-C;
        143 after SIGTERM.

    >>> main(["--version"])
    llmguide ...
    0
    """
    name, *rest = list(sys.argv[1:] if args is None else args) or ["--help"]
    if name in COMMANDS:
        return _guarded(name, rest)
    known = {"-h": usage(), "--help": usage(), "--version": f"llmguide {__version__}"}
    if name in known:
        sys.stdout.write(known[name] + "\n")
        return 0
    close = get_close_matches(name, COMMANDS, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return _fail(f"there is no command {name!r} among {', '.join(COMMANDS)}{meant}", status=2)


def _guarded(name: str, args: list[str]) -> int:
    """Run a command, and report expected errors as one line and an exit status."""
    before, threading.excepthook = threading.excepthook, _thread_error
    try:
        with warnings.catch_warnings(), _sigterm_as_exit(name):
            warnings.showwarning = partial(_warn, set())
            _run(name, args)
        sys.stdout.flush()
    except SystemExit as stop:  # raised by SIGTERM, and by tyro after --help and for wrong options
        if stop.code == TERMINATED:
            return _fail(_stopped(name), status=TERMINATED)
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _fail(_stopped(name), status=130)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; avoid a flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ArithmeticError, ImportError, OSError, RuntimeError, ValueError) as error:
        if folders := sys.modules.get(FOLDERS):
            folders.withdraw(is_refused=isinstance(error, ValueError))
        return _fail(str(error) or type(error).__name__)
    finally:
        threading.excepthook = before
        if folders := sys.modules.get(FOLDERS):
            folders.claimed.clear()
    return 0


@contextmanager
def _sigterm_as_exit(name: str) -> Iterator[None]:
    """Raise SystemExit at a SIGTERM to a command that can be resumed, which would else end it silently."""

    def end(number: int, _: object) -> None:
        raise SystemExit(TERMINATED)

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if name in RESUMABLE and is_main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _thread_error(args: threading.ExceptHookArgs) -> None:
    """Report an OSError in one line; a thread of TensorBoard raises its own in the main thread as well."""
    if isinstance(args.exc_value, OSError):
        _fail(f"note: {args.exc_value}")
    else:
        threading.__excepthook__(args)


def _stopped(name: str) -> str:
    """Say after an interruption how to go on."""
    if name not in RESUMABLE:
        return "stopped"
    folders = sys.modules.get(FOLDERS)  # not while its imports are interrupted
    how = folders.how_to_resume() if folders else ""
    return how or "stopped before anything was saved; repeat the command to start again"


def _run(name: str, args: list[str]) -> None:
    try:
        import tyro  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        message = 'the command line needs more packages: pip install "llmguide[cli]"'
        if {"-h", "--help"} & {*args}:
            sys.stdout.write(f"{_description(name)}\n\nTo see the options, and to run it: {message}\n")
            return
        raise ModuleNotFoundError(message) from None
    module = import_module(f"llmguide.cli.{_module(name)}")
    run = tyro.extras.subcommand_cli_from_dict if isinstance(module.COMMAND, dict) else tyro.cli
    with _optional_values(tyro):
        run(
            module.COMMAND,
            prog=f"llmguide {name}",
            description=module.DESCRIPTION,
            args=_expanded(args) if name in TRAINING else args,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )


def _module(name: str) -> str:
    """Return the name of a command's module, which must not be a keyword, such as class."""
    return f"{name}_" if iskeyword(name) else name


def _description(name: str) -> str:
    """Read the description of a command without importing its module, which may need an extra.

    An f-string among them inserts the formats of the training data.
    """
    from llmguide.post_training.datasets import FORMATS  # noqa: PLC0415  # imports torch

    source = (Path(__file__).parent / f"{_module(name)}.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DESCRIPTION":
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            return "".join(str(part.value) if isinstance(part, ast.Constant) else FORMATS for part in parts)
    raise AssertionError(name)


def _expanded(args: list[str]) -> list[str]:
    """Replace the aliases of options, and those of values of ``--precision``.

    Raises:
        SystemExit: An option of another library has no alias; the message names ours.

    >>> _expanded(["--learning_rate=1e-3", "--precision", "bf16", "--data", "bf16"])
    ['--lr=1e-3', '--precision', 'bfloat16', '--data', 'bf16']
    """
    expanded = []
    for before, arg in zip(["", *args], args, strict=False):
        option, equals, value = arg.partition("=")
        if ours := OTHERS.get(option.replace("_", "-")):
            raise SystemExit(_fail(f"{option} is an option of transformers or TRL; give {ours}", status=2))
        if option.startswith("--"):
            value = ALIASES.get(value, value) if option == "--precision" else value
            expanded.append(ALIASES.get(option.replace("_", "-"), option) + equals + value)
        else:
            expanded.append(ALIASES.get(arg, arg) if before == "--precision" else arg)
    return expanded


def _optional_values(tyro: Any) -> Any:
    """Return a registry in which an optional value is shown like others, with the default ``unset``."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule  # type: ignore[untyped-decorator]  # tyro is imported lazily
    def optional(info: Any) -> Any:
        kinds = get_args(info.type)
        if len(kinds) != 2 or kinds[1] is not type(None):
            return None
        plain = tyro.constructors.PrimitiveTypeInfo.make(kinds[0], info.markers)
        spec = registry.get_primitive_spec(plain)
        return replace(
            spec,
            instance_from_str=lambda args: None if args == ["None"] else spec.instance_from_str(args),
            is_instance=lambda value: value is None or spec.is_instance(value),
            str_from_instance=lambda value: ["unset"] if value is None else spec.str_from_instance(value),
        )

    return registry


def _warn(printed: set[str], message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning once, without file and line, which do not help the user of a command."""
    if str(message) not in printed:
        printed.add(str(message))
        sys.stderr.write(f"llmguide: note: {message}\n")


def _fail(message: str, *, status: int = 1) -> int:
    sys.stderr.write(f"llmguide: {message}\n")
    return status
