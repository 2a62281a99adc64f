r"""Project: fine-tune a model for one task, once with all weights and once with LoRA at several ranks.

The base is pretrained. Two tasks, each for itself: say from which age a sentence of a speech is, and write
the first line of a function's docstring. Inputs and outputs are joined to one text, and the loss counts the
output alone. Every training stops when held-out examples get no better and goes back to its best step. Each
arm is measured on speeches and files that none has seen, beside bars that need no training, and every LoRA
beside all weights, example by example, so that the difference has an interval of its own.

References: Hu et al. 2021, arXiv:2106.09685 (LoRA); Biderman et al. 2024, arXiv:2405.09673 (LoRA beside full
fine-tuning); Lin 2004 (ROUGE); Post 2018, arXiv:1804.08771 (BLEU).

Leaves out: a search for each arm's learning rate; the adapters' is higher than that of all weights.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from llmguide.data.tokens.windows import to_device
from llmguide.evaluation.metrics import bleu, rouge
from llmguide.models.saved import write_tensors
from llmguide.post_training.adapters.lora import LINEAR, adapter_state, apply_lora
from llmguide.post_training.chat import Rendered
from llmguide.post_training.coder import as_coder
from llmguide.post_training.sft import Conversations, completion
from llmguide.projects.analysis.induction import copying
from llmguide.projects.analysis.profiling import step_cost
from llmguide.projects.answers import interval_over_groups, write
from llmguide.projects.fine_tuning.data import (
    Example,
    Side,
    by_name,
    by_words,
    first_line,
    functions,
    part,
    rows,
    sentences,
    words,
)
from llmguide.projects.fine_tuning.early_stopping import train_with_patience
from llmguide.projects.run import Criterion, Run, plan_of, require_finished, thinned
from llmguide.runs.folder import say
from llmguide.runs.post_training import Chat, Origin, loggers, open_chat, resumable
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate

NAME = "fine-tuning"
BASE, FULL = "base, untrained", "all weights"
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate", "up", "down", "head")
N_VALIDATION = 48  # examples on which early stopping decides
EVALUATIONS = 4  # of the longest training
MARGIN = 0.05  # by which LoRA may be worse than all weights
FEW = 32  # examples of a training that goes on although it gets worse
N_SHOWN = 4  # answers in the record


class Task(NamedTuple):
    """How examples of a task are written, and how many are tested on."""

    before: str  # stands before the source
    after: str  # and after it
    answer: int  # tokens of an answer at most
    n_test: int


CLASSIFY, SUMMARIZE = "age", "summary"
TASKS = {
    CLASSIFY: Task("Speech: ", "\nAge:", 3, 400),
    SUMMARIZE: Task("", "\nSummary:", 16, 200),
}


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take about a quarter of an hour on two cores."""

    base: str = "smollm2-135m-instruct"  # a packaged model, a run folder, one of transformers, or a hub name
    classify: str | None = None  # JSON lines with prompt and completion; None: sentences and their age
    summarize: str | None = None  # the same; None: functions of the standard library and their docstrings
    context_length: int = 48  # tokens of an example; of a source what is longer is cut off
    n_train: int = 5000  # examples of each task, if there are so many
    n_steps: int = 64  # most updates of a fine-tuning
    patience: int = 2  # evaluations without a better one after which it stops
    batch_size: int = 8  # examples of an update
    ranks: tuple[int, ...] = (8,)  # of LoRA; the correction is multiplied by 2
    full_rate: float = 5e-5  # peak of the learning rate of all weights
    lora_rate: float = 3e-3  # of the adapters

    def __post_init__(self) -> None:
        """Refuse what would show only after minutes."""
        if not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"--ranks {self.ranks} must be one or more numbers of at least 1")
        if self.n_train < 1:
            raise ValueError(f"--n-train {self.n_train} must be at least 1")


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Fine-tune for two tasks, with all weights and with LoRA, and measure what each costs and is worth.

    Args:
        plan: Base, tasks and training.
        seed: Of weights and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    for task in TASKS:
        _require_examples(plan, task)
    costs = run.stage("costs", lambda: _costs(run))
    curves, trainings = {}, {}
    for task in TASKS:
        for arm in arms(plan):
            found = run.stage(
                f"{task}-{arm}".replace(" ", "-").replace(",", ""), partial(_fine_tune, run, plan, task, arm)
            )
            curve = found.pop("curve")
            curves[f"{task}, {arm}"] = {name: curve[name] for name in ("val_step", "val_loss")}
            trainings[f"{task}, {arm}"] = found
            say(f"{task}, {arm}: best at step {found['best']} of {found['steps']}")
    few = replace(plan, n_train=FEW, n_steps=plan.n_steps // 2, patience=EVALUATIONS)
    curves["few"] = run.stage("few", lambda: _fine_tune(run, few, SUMMARIZE, FULL, "few"))["curve"]
    tests = run.stage("tests", lambda: measure(output))
    for task, test in tests.items():
        say(f"\n{task}: {test['n']:,} examples of {test['n_groups']:,} speeches or files")
        for name, score in test["systems"].items():
            say(f"  {name:22} {score['score']:.3f}  ({score['low']:.3f} to {score['high']:.3f})")
    copies = run.stage("copying", lambda: copying(open_base(plan).model.eval())._asdict())
    results = {"costs": costs, "trainings": trainings, "tests": tests, "copying": copies}
    run.finish(results, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the fine-tuned models of a run anew on speeches and files that they have not seen."""
    require_finished(NAME, folder)
    criteria = []
    bars = {CLASSIFY: "the most frequent answer", SUMMARIZE: "the first line"}
    for task, test in measure(folder).items():
        arm, bar = test["chosen"], test["systems"][bars[task]]["score"]
        low, gap = test["systems"][arm]["low"], test["differences"][arm]["low"]
        criteria += [
            Criterion(
                f"{task}: {arm}, lower end of the interval",
                low,
                f"above {bars[task]}, {bar:.3f}",
                low > bar,
            ),
            Criterion(f"{task}: {arm} minus {FULL}, lower end", gap, f"above {-MARGIN}", gap > -MARGIN),
        ]
    return criteria


def arms(plan: Plan) -> dict[str, int]:
    """Ranks of the trainings by their names; 0 stands for all weights.

    >>> arms(Plan(ranks=(2,)))
    {'all weights': 0, 'LoRA, rank 2': 2}
    """
    return {FULL: 0} | {f"LoRA, rank {rank}": rank for rank in plan.ranks}


def examples(plan: Plan, task: str) -> Sequence[Example]:
    """Read all examples of a task."""
    if task == CLASSIFY:
        return sentences() if plan.classify is None else rows(plan.classify)
    return functions() if plan.summarize is None else rows(plan.summarize)


def _require_examples(plan: Plan, task: str) -> None:
    every = examples(plan, task)
    sides: tuple[Side, ...] = ("train", "validation", "test")
    if missing := [side for side in sides if not part(every, side, 1)]:
        raise ValueError(
            f"--classify {plan.classify}, --summarize {plan.summarize}: of {len(every)} examples of the task "
            f"{task!r} none falls on the side {' or '.join(missing)}; a hash decides, so give some hundreds"
        )


def write_prompt(chat: Chat, task: Task, source: str, length: int) -> list[int]:
    """Encode an input, its end cut off so that it leaves room for an answer within so many tokens."""
    encode = as_coder(chat.tokenizer).encode
    before, inside, after = (encode(text, False)[0] for text in (task.before, source, task.after))
    return [*before, *inside[: length - task.answer - len(before) - len(after)], *after]


def write_example(chat: Chat, task: Task, source: str, target: str, length: int) -> Rendered:
    """Encode an input with its output, which alone is learned, and its end."""
    answer = as_coder(chat.tokenizer).encode(f" {target}", False)[0][: task.answer - 1]
    return completion(write_prompt(chat, task, source, length), [*answer, chat.end_id])


def open_arm(folder: Path, plan: Plan, task: str, arm: str) -> Chat:
    """Open a fine-tuned model: the weights of its own, or the base with its adapter."""
    chat = open_base(plan)
    if arm != BASE:
        rank = arms(plan)[arm]
        if rank:
            adapt(chat.model, rank)
        state = import_module("safetensors.torch").load_file(folder / "models" / task / f"{arm}.safetensors")
        chat.model.load_state_dict(state, strict=not rank)
    chat.model.eval()
    return chat


def open_base(plan: Plan) -> Chat:
    """Open the model to start from."""
    return open_chat(Origin(model=plan.base), [], seed=0)


def adapt(model: Any, rank: int) -> None:
    """Put adapters on all linear layers."""
    apply_lora(model, rank=rank, alpha=2 * rank, targets=linear_layers(model))


def linear_layers(model: Any) -> list[str]:
    """Return the names of a model's linear layers; GPT-2 has no gate, and a tied head is none."""
    names = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, LINEAR)}
    return [name for name in LAYERS if name in names]


def measure(folder: Path) -> dict[str, Any]:
    """Let every model of a run, and the bars, answer the test examples of each task."""
    plan = plan_of(Plan, folder)
    length, found = plan.context_length, {}
    for name, task in TASKS.items():
        every = examples(plan, name)
        learned, test = part(every, "train", plan.n_train), part(every, "test", task.n_test)
        answers = _bars(name, learned, test)
        losses = {}
        for arm in (BASE, *arms(plan)):
            chat = open_arm(folder, plan, name, arm)
            if arm not in (BASE, FULL):
                unseen = _conversations(chat, plan, name, "validation", seed=0)
                losses[arm] = evaluate(chat.model, unseen, loss=batch_loss)
            prompts = [write_prompt(chat, task, example.source, length) for example in test]
            answers[arm] = write(chat, prompts, task.answer)
        chosen = min(losses, key=losses.__getitem__)
        found[name] = {
            "n": len(test),
            "n_groups": len({example.group for example in test}),
            "n_learned": len(learned),
            "chosen": chosen,  # by the held-out loss: the test may not choose
            **judge(name, test, answers, list(arms(plan))),
        }
    return found


def judge(
    name: str, test: Sequence[Example], answers: dict[str, list[str]], trained: list[str]
) -> dict[str, Any]:
    """Score answers, and compare every LoRA with all weights on the same examples."""
    groups, wanted = [example.group for example in test], [example.target for example in test]
    score: Callable[[str, str], float] = (lambda a, b: float(a == b)) if name == CLASSIFY else _rouge_l
    scores = {who: [score(a, b) for a, b in zip(said, wanted, strict=True)] for who, said in answers.items()}
    systems: dict[str, Any] = {
        who: interval_over_groups(found, groups)._asdict() for who, found in scores.items()
    }
    if name == SUMMARIZE:
        for who, said in answers.items():
            copied = [copied_share(a, example.source) for a, example in zip(said, test, strict=True)]
            systems[who] |= rouge(said, wanted) | {
                "bleu": bleu(said, wanted),
                "copied": float(np.mean(copied)),
            }
    differences = {
        arm: interval_over_groups(np.subtract(scores[arm], scores[FULL]).tolist(), groups)._asdict()
        for arm in trained
        if arm != FULL
    }
    shown = [
        {"source": test[i].source[:120], "wanted": wanted[i], **{arm: answers[arm][i] for arm in trained}}
        for i in range(min(N_SHOWN, len(test)))
    ]
    return {"systems": systems, "differences": differences, "shown": shown}


def copied_share(text: str, source: str) -> float:
    """Share of the words of a text that stand in its source.

    >>> copied_share("Return the next line.", "def next_line(self): return self.x")
    0.75
    """
    inside = set(words(source.replace("_", " ")))
    said = words(text)
    return sum(word in inside for word in said) / max(1, len(said))


def _bars(name: str, learned: Sequence[Example], test: Sequence[Example]) -> dict[str, list[str]]:
    sources = [example.source for example in test]
    if name == CLASSIFY:
        answers = [example.target for example in learned]
        often, by_count = max(set(answers), key=answers.count), by_words(learned)
        return {
            "the most frequent answer": [often] * len(test),
            "words (naive Bayes)": list(map(by_count, sources)),
        }
    return {"the first line": list(map(first_line, sources)), "a template": list(map(by_name, sources))}


def _costs(run: Run) -> dict[str, Any]:
    """Measure an update of each arm on the same batch."""
    found = {}
    for arm, rank in arms(run.plan).items():
        chat = open_base(run.plan)
        if rank:
            adapt(chat.model, rank)
        model: Any = chat.model.to(run.device).train()
        data = _conversations(chat, run.plan, SUMMARIZE, "train", seed=0)
        cost = step_cost(model, to_device(data.batch(0, run.plan.batch_size), run.device))
        found[arm] = cost._asdict()
    return found


def _fine_tune(run: Run, plan: Plan, task: str, arm: str, name: str | None = None) -> dict[str, Any]:
    rank, name = arms(plan)[arm], name or arm
    chat = open_base(plan)
    torch.manual_seed(run.seed)
    if rank:
        adapt(chat.model, rank)
    model: Any = chat.model.to(run.device)
    learned, unseen = (_conversations(chat, plan, task, side, run.seed) for side in ("train", "validation"))
    settings = TrainConfig(
        n_steps=plan.n_steps,
        context_length=plan.context_length,
        batch_size=plan.batch_size,
        lr=plan.lora_rate if rank else plan.full_rate,
        weight_decay=0.0,
        max_spike=inf,  # an answer unlike all that the base has read may cost more before it costs less
        eval_every=max(1, plan.n_steps // EVALUATIONS),
        log_every=max(1, plan.n_steps // EVALUATIONS),
        seed=run.seed,
    )
    checkpoints = run.output / "checkpoints" / task / name
    with resumable(run.output):
        stopped = train_with_patience(
            model,
            learned,
            unseen,
            settings,
            patience=plan.patience,
            folder=checkpoints,
            loss=batch_loss,
            logger=loggers(run.output / "logs" / task / name),
        )
    state = adapter_state(model) if rank else model.state_dict()
    place = run.output / "models" / task / f"{name}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(place, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    shutil.rmtree(checkpoints)  # of all weights, three times the model each
    return {
        "best": stopped.best,
        "steps": len(stopped.history),
        "bytes": place.stat().st_size,
        "curve": thinned(stopped.history),
    }


def _conversations(chat: Chat, plan: Plan, task: str, side: Side, seed: int) -> Conversations:
    n = plan.n_train if side == "train" else N_VALIDATION
    found = part(examples(plan, task), side, n)
    written = [write_example(chat, TASKS[task], e.source, e.target, plan.context_length) for e in found]
    return Conversations(written, seed=seed)


def _rouge_l(text: str, wanted: str) -> float:
    return rouge([text], [wanted])["rougeL"]
