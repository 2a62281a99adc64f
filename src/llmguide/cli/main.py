"""The command ``llmguide``: run the module of a command, and report errors in one line.

Only the module of the requested command is imported, so ``llmguide --help`` and the calculators do not import
torch. A command is a function, or a table of functions; tyro derives options and help from signatures and
docstrings. To add one, write a module of `llmguide.cli` and a line in `COMMANDS`.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from llmguide import __version__

COMMANDS = {
    "estimate": "cost of a model: parameters, FLOPs, memory, time, money, optimal size",
    "pretrain": "train a small GPT from scratch, on the packaged speeches or on your text",
    "generate": "complete a prompt with your model or one of the Hugging Face hub",
    "chat": "talk to a chat model of yours or of the Hugging Face hub",
    "export": "write a model for transformers, vLLM and llama.cpp",
    "sft": "supervised fine-tuning on conversations",
    "reward": "train a reward model on comparisons of responses",
    "ppo": "maximize a reward model with PPO",
    "grpo": "GRPO and its variants on verifiable rewards or a reward model",
    "dpo": "train on comparisons directly, with DPO",
    "learn": "solve the exercises of the guide in your editor, checked at each save",
    "project": "run one of the projects, from data to evaluation",
    "check": "pass or fail your own run of a project",
    "app": "serve a project's application: a model behind a web page with a database",
    "serve": "serve the guide locally, with real PyTorch",
}

EXAMPLES = """\
  llmguide pretrain                                  a few minutes on two cores, then it generates text
  llmguide generate runs/pretrain "My fellow citizens"
  llmguide pretrain --corpus books/ --output runs/books
  llmguide sft                                       a minute, in a world where the optimum is known
  llmguide chat smollm2-135m-instruct                or a model of yours, after llmguide sft --data
  llmguide export runs/pretrain exported
  llmguide reward --data vader                       sentiment preferences of human raters, ten minutes
  llmguide ppo                                       starts from both, like llmguide grpo and llmguide dpo
  llmguide learn                                     exercises in your editor: build a GPT step by step
  llmguide serve                                     the guide, whose cells run in your Python
  llmguide project character-model                   and llmguide check character-model
  llmguide app creative-writing                      after llmguide project creative-writing
  llmguide estimate params llama-3-8b
  llmguide estimate train llama-2-7b --tokens 2e12 --gpu a100 --n-gpus 1024
"""


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
        The exit status: 0; 1 if an input is invalid or missing; 2 for a wrong command line; 130 after Ctrl-C.

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
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            _run(name, args)
        sys.stdout.flush()
    except SystemExit as stop:  # raised by tyro after --help and for wrong options
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _fail("stopped", status=130)
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe; avoid a flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ArithmeticError, ImportError, OSError, RuntimeError, ValueError) as error:
        return _fail(str(error) or type(error).__name__)
    return 0


def _run(name: str, args: list[str]) -> None:
    try:
        import tyro  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        message = 'the command line needs more packages: pip install "llmguide[cli]"'
        raise ModuleNotFoundError(message) from None
    module = import_module(f"llmguide.cli.{name}")
    run = tyro.extras.subcommand_cli_from_dict if isinstance(module.COMMAND, dict) else tyro.cli
    run(
        module.COMMAND,
        prog=f"llmguide {name}",
        description=module.DESCRIPTION,
        args=args,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without file and line, which do not help the user of a command."""
    sys.stderr.write(f"llmguide: {message}\n")


def _fail(message: str, *, status: int = 1) -> int:
    sys.stderr.write(f"llmguide: {message}\n")
    return status
