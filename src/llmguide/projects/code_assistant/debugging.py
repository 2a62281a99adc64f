"""Fine-tune a model to debug: from a program with a bug and a test that fails to the line without the bug.

The program is in the prompt with numbered lines. The model writes the number of the line to change and its
new text, which is applied to the program and run on all tests of the problem. Training and held-out bugs are
of different problems.

Baselines: a random mutation of the program; the mutation most like a training example; and a search that
tries all mutations until the shown test passes, which is generate-and-validate program repair.

References: edits instead of whole programs as in search-and-replace edits of coding agents; repair by search
(Le Goues et al. 2012, "GenProg").

Leaves out: bugs that need more than one line, several attempts of the model, and whether it gets worse at
completion.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from llmguide.coding.humaneval import CodeProblem, load_humaneval
from llmguide.coding.sandbox.judging import judge
from llmguide.data.splits import in_validation
from llmguide.post_training.chat import TokenizedChat
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.code_assistant.bugs import (
    TIMEOUT_S,
    Bug,
    Change,
    bugs,
    changed,
    mutations,
    passes_its_test,
)
from llmguide.projects.code_assistant.code import Plan
from llmguide.projects.code_assistant.pretrained import N_SHOWN, complete_lines, open_byte_level
from llmguide.projects.pretrained import ADAPTER_TRAINING, HFTokenizer, adapt, separator
from llmguide.projects.run import Run
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import merged
from llmguide.runs.folder import say
from llmguide.training.losses import batch_loss

HELD_OUT = 0.3  # fraction of the problems
HELD_OUT_BUGS = 2  # most bugs of a held-out problem


def find_bugs(plan: Plan) -> dict[str, list[list[Any]]]:
    """Plant and verify bugs in the programs of both sides; the same for every seed of a run."""
    sides: dict[bool, list[CodeProblem]] = {False: [], True: []}
    for problem in load_humaneval():
        sides[in_validation(problem.task_id, HELD_OUT)].append(problem)
    train = list(bugs(sides[False], plan.bugs_per_program, seed=0))
    held_out = list(bugs(sides[True], HELD_OUT_BUGS, seed=0))
    say(f"{len(train)} bugs to learn from, {len(held_out)} held out")
    return {"train": [list(bug) for bug in train], "held out": [list(bug) for bug in held_out]}


def learn_to_debug(run: Run, found: dict[str, list[list[Any]]]) -> dict[str, Any]:
    """Train adapters of the model that fills in lines on debugging examples, and save the merged model."""
    plan = run.plan
    model, tokenizer = open_byte_level(run.output / "models" / "filling")
    examples = [example(tokenizer, bug) for bug in map(bug_of, found["train"])]
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    say(f"{len(examples):,} debugging examples of at most {plan.context_length} tokens")
    torch.manual_seed(run.seed)
    adapt(model, plan.lora_rank)
    config = stage_config(run, len(examples) // plan.batch_size, plan.lr, **ADAPTER_TRAINING)
    data = SFTDataset(examples, seed=run.seed)
    result = train_stage(run, "debugging", model, data, config, loss=batch_loss)
    run.save("models/debugging", merged(model), tokenizer)
    return {"n_bugs": len(examples), "curve": loss_curve(result.history)}


def bugs_in(folder: Path) -> dict[str, list[Bug]]:
    """Read the bugs of a run from the file of its stage."""
    content = json.loads((folder / "stages" / "bugs.json").read_text(encoding="utf-8"))
    return {side: list(map(bug_of, rows)) for side, rows in content["found"].items()}


def bug_of(row: Sequence[Any]) -> Bug:
    """Make a bug from a row of a stage's file."""
    return Bug(*row)


def prompt(bug: Bug) -> str:
    r"""Write the request to mend a bug; the line follows it directly.

    >>> bug = Bug("t", "f", "def f(x):\n    return x - 1", 2, "", "assert candidate(1) == 2", "returned 0")
    >>> print(prompt(bug))
    # A program with a bug:
    1 def f(x):
    2     return x - 1
    # A test that fails: assert f(1) == 2
    # The function returned 0
    # The line without the bug:
    """
    lines = "\n".join(f"{i} {line}" for i, line in enumerate(bug.program.splitlines(), 1))
    test = bug.test.replace("candidate(", f"{bug.function}(")
    return (
        f"# A program with a bug:\n{lines}\n# A test that fails: {test}\n# The function {bug.outcome}\n"
        "# The line without the bug:"
    )


def response(bug: Bug) -> str:
    """Write the correct response: the number of the line and its text."""
    return f" {bug.line} {bug.mended}\n"


def example(tokenizer: HFTokenizer, bug: Bug) -> TokenizedChat:
    """Make a training example; the loss is on the response."""
    ids = [separator(tokenizer), *tokenizer.encode(prompt(bug))]
    return completion(ids, tokenizer.encode(response(bug)))


def change_of(text: str) -> Change:
    """Read a response; one that does not begin with the number of a line changes nothing.

    >>> change_of(" 2     return x"), change_of("return x")
    (Change(line=2, text='    return x'), Change(line=0, text=''))
    """
    read = re.match(r"\s*(\d+) (.*)", text)
    return Change(int(read[1]), read[2]) if read else Change(0, "")


def changes_of_model(
    model: Any, tokenizer: HFTokenizer, found: Sequence[Bug], *, solved: Bug | None = None
) -> list[Change]:
    """Let a model mend bugs by greedy decoding.

    Args:
        model: Decoder that completes the prompts.
        tokenizer: Byte-level tokenizer of the model.
        found: Bugs to mend.
        solved: Bug that is shown before each with its correct response; None: none.
    """
    before = f"{prompt(solved)}{response(solved)}\n" if solved else ""
    rows = [[separator(tokenizer), *tokenizer.encode(before + prompt(bug))] for bug in found]
    return [change_of(text) for text in complete_lines(model, tokenizer, rows)]


def mends(bug: Bug, problem: CodeProblem, change: Change) -> bool:
    """Run a changed program on all tests of its problem."""
    return judge(changed(bug.program, change), problem.tests(), timeout_s=TIMEOUT_S).passed


def nearest_change(bug: Bug, train: Iterable[Bug]) -> Change:
    """Return the mutation whose line, before and after, has most tokens in common with a training example."""
    known = [_features(other.program.splitlines()[other.line - 1], other.mended) for other in train]

    def similarity(change: Change) -> float:
        own = _features(bug.program.splitlines()[change.line - 1], change.text)
        return max(len(own & other) / len(own | other) for other in known)

    return max(mutations(bug.program, bug.function), key=similarity)


def _features(before: str, after: str) -> set[tuple[str, str]]:
    sides = {"-": before, "+": after}
    return {(side, token) for side, text in sides.items() for token in re.findall(r"\w+|[^\w\s]+", text)}


def searched_change(bug: Bug) -> tuple[Change, int]:
    """Return the first mutation that passes the shown test, and how many programs were run."""
    candidates = mutations(bug.program, bug.function)
    for n, change in enumerate(candidates, 1):
        if passes_its_test(bug, changed(bug.program, change)):
            return change, n
    return Change(0, ""), len(candidates)


def measure(folder: Path) -> dict[str, Any]:
    """Let the model of a run before and after debugging, and the baselines, mend held-out bugs."""
    found = bugs_in(folder)
    train, held_out = found["train"], found["held out"]
    problems = {problem.task_id: problem for problem in load_humaneval()}
    before, tokenizer = open_byte_level(folder / "models" / "filling")
    after, _ = open_byte_level(folder / "models" / "debugging")
    searched = [searched_change(bug) for bug in held_out]
    changes = {
        "nearest neighbor": [nearest_change(bug, train) for bug in held_out],
        "search": [change for change, _ in searched],
        "before": changes_of_model(before, tokenizer, held_out, solved=train[0]),
        "model": changes_of_model(after, tokenizer, held_out),
    }
    mended = {
        name: [
            float(mends(bug, problems[bug.problem], change))
            for bug, change in zip(held_out, each, strict=True)
        ]
        for name, each in changes.items()
    }
    n_mutations = [len(mutations(bug.program, bug.function)) for bug in held_out]
    mended["random mutation"] = [1 / n for n in n_mutations]  # the expected value, of one that is right
    groups = [bug.problem for bug in held_out]

    def interval(name: str, minus: str | None = None) -> dict[str, float]:
        others = mended[minus] if minus else [0.0] * len(held_out)
        differences = [a - b for a, b in zip(mended[name], others, strict=True)]
        return cluster_bootstrap_interval(differences, groups)._asdict()

    compared = {"by the training": "before"} | {
        f"over {article} {name}": name
        for article, name in (("a", "random mutation"), ("the", "nearest neighbor"), ("the", "search"))
    }
    shown = zip(held_out[:N_SHOWN], changes["model"], strict=False)
    return {
        "n_held_out": len(held_out),
        "n_problems": len(set(groups)),
        "n_runs": fmean(n for _, n in searched),
        "mended": {name: interval(name) for name in mended},
        "right line": {
            name: fmean(c.line == bug.line for c, bug in zip(changes[name], held_out, strict=True))
            for name in ("nearest neighbor", "before", "model")
        },
        "gains": {f"bugs mended {how}": interval("model", minus=name) for how, name in compared.items()},
        "samples": [
            {
                "bug": bug.program.splitlines()[bug.line - 1].strip(),
                "test": bug.test.replace("candidate(", f"{bug.function}("),
                "mended": bug.mended.strip(),
                "model": change.text.strip(),
            }
            for bug, change in shown
        ],
    }
