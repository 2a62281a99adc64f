r"""Project: fine-tune a model for one task, with full fine-tuning and with LoRA at several ranks.

The base is pretrained. Two tasks, one at a time: tell from which age a sentence of a speech is, and write the
first line of a function's docstring. Input and output are one text, and the loss is computed on the output
only. Every training stops early and restores its best checkpoint. Each method is tested on held-out speeches
and files, beside baselines that need no training, and every LoRA is compared with full fine-tuning example by
example, so that the difference has an interval.

References: Hu et al. 2021, arXiv:2106.09685 (LoRA); Biderman et al. 2024, arXiv:2405.09673 (LoRA beside full
fine-tuning); Lin 2004 (ROUGE); Post 2018, arXiv:1804.08771 (BLEU).

Leaves out: a learning-rate search for each method; adapters get a higher one than full fine-tuning.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import torch

from llmguide.data.tokens.windows import to_device
from llmguide.post_training.adapters.lora import LINEAR, adapter_state, apply_lora
from llmguide.post_training.chat import TokenizedChat
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.post_training.tokenizer_interface import as_adapter
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.analysis.induction import copying
from llmguide.projects.analysis.profiling import step_cost
from llmguide.projects.fine_tuning.data import Example, Side, functions, part, rows, sentences
from llmguide.projects.fine_tuning.early_stopping import train_with_patience
from llmguide.projects.fine_tuning.metrics import CLASSIFY, FULL, SUMMARIZE, baselines, score_completions
from llmguide.projects.generation import respond
from llmguide.projects.run import Run, load_weights, plan_of, require_at_least_one
from llmguide.projects.training import loss_curve, stage_config
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import loggers
from llmguide.runs.options import ModelSource
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate

BASE = "base, untrained"
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate", "up", "down", "head")
N_VALIDATION = 48  # examples that early stopping is decided on
EVALUATIONS = 4  # evaluations in the longest training
MARGIN = 0.05  # how much worse than full fine-tuning LoRA may be
FEW = 32  # training examples of the run that continues although it overfits


class Task(NamedTuple):
    """How the examples of a task are written, and how many are tested on."""

    prefix: str  # text before the source
    suffix: str  # text after the source
    max_new_tokens: int  # most tokens of an answer
    n_test: int  # number of test examples


TASKS = {
    CLASSIFY: Task("Speech: ", "\nAge:", 3, 400),
    SUMMARIZE: Task("", "\nSummary:", 16, 200),
}


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes about a quarter of an hour on two cores."""

    base: str = "smollm2-135m-instruct"  # a packaged model, a run folder, one of transformers, or a hub name
    classify: str | None = None  # JSON lines with prompt and completion; None: sentences and their age
    summarize: str | None = None  # the same; None: functions of the standard library and their docstrings
    context_length: int = 48  # tokens of an example; longer sources are truncated
    n_train: int = 5000  # most training examples of each task
    n_steps: int = 64  # most optimizer steps of a fine-tuning
    patience: int = 2  # evaluations without a new best one after which training stops
    batch_size: int = 8  # examples of an optimizer step
    ranks: tuple[int, ...] = (8,)  # ranks of LoRA; alpha is twice the rank
    full_rate: float = 5e-5  # peak learning rate of full fine-tuning
    lora_rate: float = 3e-3  # peak learning rate of the adapters

    def __post_init__(self) -> None:
        """Refuse what would fail only after minutes."""
        if not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"--ranks {self.ranks} must be one or more numbers of at least 1")
        require_at_least_one(self, "n_train")


def project(run: Run) -> None:
    """Fine-tune for two tasks, fully and with LoRA, and measure the cost and the quality of each."""
    plan = run.plan
    for task in TASKS:
        _require_examples(plan, task)
    costs = run.stage("costs", lambda: _costs(run))
    curves, trainings = {}, {}
    for task in TASKS:
        for method in methods(plan):
            stage = f"{task}-{method}".replace(" ", "-").replace(",", "")
            training = run.stage(stage, partial(_fine_tune, run, plan, task, method))
            curve = training.pop("curve")
            curves[f"{task}, {method}"] = {name: curve[name] for name in ("val_step", "val_loss")}
            trainings[f"{task}, {method}"] = training
            say(f"{task}, {method}: best at step {training['best']} of {training['steps']}")
    few = replace(plan, n_train=FEW, n_steps=plan.n_steps // 2, patience=EVALUATIONS)
    curves["few"] = run.stage("few", lambda: _fine_tune(run, few, SUMMARIZE, FULL, "few"))["curve"]
    tests = run.stage("tests", lambda: measure(run.output))
    for task, test in tests.items():
        say(f"\n{task}: {test['n']:,} examples of {test['n_groups']:,} speeches or files")
        for name, score in test["systems"].items():
            say(f"  {name:22} {score['score']:.3f}  ({score['low']:.3f} to {score['high']:.3f})")
    copies = run.stage("copying", lambda: copying(open_base(plan).model.eval())._asdict())
    results = {"costs": costs, "trainings": trainings, "tests": tests, "copying": copies}
    run.finish(results, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the fine-tuned models of a run again on held-out speeches and files."""
    criteria = []
    simplest = {CLASSIFY: "the most frequent answer", SUMMARIZE: "the first line"}
    for task, test in measure(folder).items():
        chosen, name = test["chosen"], simplest[task]
        low, gap = test["systems"][chosen]["low"], test["differences"][chosen]["low"]
        criteria += [
            above(f"{task}: {chosen}, lower bound", low, test["systems"][name]["score"], name),
            above(f"{task}: {chosen} minus {FULL}, lower bound", gap, -MARGIN),
        ]
    return criteria


def methods(plan: Plan) -> dict[str, int]:
    """Return the LoRA rank of each method by its name; 0 is full fine-tuning.

    >>> methods(Plan(ranks=(2,)))
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
    """Encode a source, truncated so that an answer fits within the length."""
    encode = as_adapter(chat.tokenizer).encode
    prefix, ids, suffix = (encode(text, False)[0] for text in (task.prefix, source, task.suffix))
    return [*prefix, *ids[: length - task.max_new_tokens - len(prefix) - len(suffix)], *suffix]


def write_example(chat: Chat, task: Task, source: str, target: str, length: int) -> TokenizedChat:
    """Encode a source with its target and the end token; only these two are trained on."""
    answer = as_adapter(chat.tokenizer).encode(f" {target}", False)[0][: task.max_new_tokens - 1]
    return completion(write_prompt(chat, task, source, length), [*answer, chat.end_id])


def open_fine_tuned(folder: Path, plan: Plan, task: str, method: str) -> Chat:
    """Open a fine-tuned model: its own weights, or the base with its adapter."""
    chat = open_base(plan)
    if method != BASE:
        rank = methods(plan)[method]
        if rank:
            adapt(chat.model, rank)
        chat.model.load_state_dict(load_weights(folder, f"{task}/{method}"), strict=not rank)
    chat.model.eval()
    return chat


def open_base(plan: Plan) -> Chat:
    """Open the base model."""
    return open_chat(ModelSource(model=plan.base), [], seed=0)


def adapt(model: Any, rank: int) -> None:
    """Add LoRA adapters to all linear layers, in place."""
    apply_lora(model, rank=rank, alpha=2 * rank, target_modules=linear_layers(model))


def linear_layers(model: Any) -> list[str]:
    """Return the names of a model's linear layers; GPT-2 has no gate, and a tied head is none."""
    names = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, LINEAR)}
    return [name for name in LAYERS if name in names]


def measure(folder: Path) -> dict[str, Any]:
    """Let every model of a run, and the baselines, answer the test examples of each task."""
    plan = plan_of(Plan, folder)
    length, results = plan.context_length, {}
    for name, task in TASKS.items():
        every = examples(plan, name)
        train_side, test = part(every, "train", plan.n_train), part(every, "test", task.n_test)
        answers = baselines(name, train_side, test)
        losses = {}
        for method in (BASE, *methods(plan)):
            chat = open_fine_tuned(folder, plan, name, method)
            if method not in (BASE, FULL):
                held_out = _conversations(chat, plan, name, "validation", seed=0)
                losses[method] = evaluate(chat.model, held_out, loss=batch_loss)
            prompts = [write_prompt(chat, task, example.source, length) for example in test]
            answers[method] = respond(chat, prompts, task.max_new_tokens)
        chosen = min(losses, key=losses.__getitem__)
        results[name] = {
            "n": len(test),
            "n_groups": len({example.group for example in test}),
            "n_learned": len(train_side),
            "chosen": chosen,  # by the held-out loss: the test may not choose
            **score_completions(name, test, answers, list(methods(plan))),
        }
    return results


def _costs(run: Run) -> dict[str, Any]:
    """Measure an optimizer step of each method on the same batch."""
    costs = {}
    for method, rank in methods(run.plan).items():
        chat = open_base(run.plan)
        if rank:
            adapt(chat.model, rank)
        model: Any = chat.model.to(run.device).train()
        data = _conversations(chat, run.plan, SUMMARIZE, "train", seed=0)
        batch = to_device(data.batch(0, run.plan.batch_size), run.device)
        costs[method] = step_cost(model, batch)._asdict()
    return costs


def _fine_tune(run: Run, plan: Plan, task: str, method: str, name: str | None = None) -> dict[str, Any]:
    rank, name = methods(plan)[method], f"{task}/{name or method}"
    chat = open_base(plan)
    torch.manual_seed(run.seed)
    if rank:
        adapt(chat.model, rank)
    model: Any = chat.model.to(run.device)
    train_side, held_out = (
        _conversations(chat, plan, task, side, run.seed) for side in ("train", "validation")
    )
    config = stage_config(
        run,
        plan.n_steps,
        plan.lora_rate if rank else plan.full_rate,
        optimizer="adamw",
        weight_decay=0.0,
        max_spike=inf,  # the loss of answers unlike the pre-training may rise before it falls
        eval_every=max(1, plan.n_steps // EVALUATIONS),
    )
    checkpoints = run.output / "checkpoints" / name
    stopped = train_with_patience(
        model,
        train_side,
        held_out,
        config,
        patience=plan.patience,
        folder=checkpoints,
        loss=batch_loss,
        logger=loggers(run.output / "logs" / name),
    )
    path = run.save_weights(name, adapter_state(model) if rank else model.state_dict())
    shutil.rmtree(checkpoints)  # in full fine-tuning, three times the model each
    return {
        "best": stopped.best,
        "steps": len(stopped.history),
        "bytes": path.stat().st_size,
        "curve": loss_curve(stopped.history),
    }


def _conversations(chat: Chat, plan: Plan, task: str, side: Side, seed: int) -> SFTDataset:
    n = plan.n_train if side == "train" else N_VALIDATION
    return SFTDataset(
        [
            write_example(chat, TASKS[task], example.source, example.target, plan.context_length)
            for example in part(examples(plan, task), side, n)
        ],
        seed=seed,
    )
