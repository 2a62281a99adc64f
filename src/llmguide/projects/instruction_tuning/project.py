r"""Project: tune a base to follow instructions of many types, and ask it for types that it was never shown.

A pretrained base is stored in four bits, and adapters learn eleven types of instructions on it (QLoRA), of
sizes from fifty items to three thousand: mixed in proportion to those, all the same, or in between. It is
measured on items that no instruction had, in words that none had, and on four types of instructions that it
was never shown. The same with adapters on a base that is not quantized, and with all weights, says what four
bits and low ranks cost.

References: Wei et al. 2021, arXiv:2109.01652 (types held out); Raffel et al. 2019, arXiv:1910.10683, section
3.5.2 (mixing); Dettmers et al. 2023, arXiv:2305.14314 (QLoRA).

Leaves out: answers that a person or a model would have to judge; all are compared as they stand.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import torch

from llmguide.data.tokens.windows import to_device
from llmguide.models.saved import write_tensors
from llmguide.post_training.adapters.lora import adapter_state
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear, dequantize_model, quantize_model
from llmguide.post_training.chat import END, START, Message, chatml
from llmguide.post_training.coder import as_coder
from llmguide.post_training.sft import Conversations
from llmguide.projects.analysis.induction import copying
from llmguide.projects.analysis.profiling import step_cost
from llmguide.projects.answers import interval_over_groups, write
from llmguide.projects.fine_tuning.project import adapt, linear_layers
from llmguide.projects.instruction_tuning.data import (
    HELD_OUT,
    TYPES,
    Item,
    answer_of,
    ask,
    items,
    reply,
    shown,
    statement_of,
    templates,
)
from llmguide.projects.mixture import counts, mixed, mixing_rates
from llmguide.projects.run import Criterion, Run, plan_of, require_finished, thinned
from llmguide.runs.folder import say
from llmguide.runs.post_training import Chat, Origin, kept, loggers, open_chat, resumable
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate
from llmguide.training.train import train

NAME = "instruction-tuning"
N_TEST = 16  # prompts of each type
N_NEW = 8  # in new words
N_DRAWN = 5  # of each type, answered by drawing
ANSWER = 20  # tokens at most
COMPLETION = 8  # tokens of a statement's end
SMALL = 150  # types with fewer items are small ones
SHOWN, NEW, NEVER = "shown types", "new words", "types never shown"
FREQUENT = "the most frequent answer"


class Arm(NamedTuple):
    """A way to tune, and the temperature of its mixture."""

    way: Literal["QLoRA", "LoRA", "all weights"]
    temperature: float

    @property
    def name(self) -> str:
        """What it is called."""
        mixture = {1.0: "in proportion", inf: "all the same"}.get(self.temperature)
        return f"{self.way}, {mixture or f'temperature {self.temperature:g}'}"


BASE, JUDGED = "base", Arm("QLoRA", 2.0)
ARMS = {
    arm.name: arm
    for arm in (Arm("QLoRA", 1.0), JUDGED, Arm("QLoRA", inf), Arm("LoRA", 2.0), Arm("all weights", 2.0))
}
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature 1": {"temperature": 1.0},
    "temperature 1, top-k 5": {"temperature": 1.0, "top_k": 5},
    "temperature 1, top-p 0.9": {"temperature": 1.0, "top_p": 0.9},
}


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    base: str = "smollm2-135m-instruct"  # a packaged model, a run folder, one of transformers, or a hub name
    data: str | None = None  # JSON lines with task, prompt and completion; None: the types that come along
    held_out: tuple[str, ...] = HELD_OUT  # types that are never shown
    context_length: int = 64  # tokens of an instruction and its answer
    n_steps: int = 40  # updates of each tuning
    batch_size: int = 8  # conversations of an update
    rank: int = 8  # of the adapters
    adapter_rate: float = 1e-3  # peak of the learning rate of adapters
    full_rate: float = 5e-5  # of all weights


class Asked(NamedTuple):
    """A prompt of the test."""

    item: Item
    template: int


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Tune a base on instructions of many types, and measure it on items, words and types it was not shown.

    Args:
        plan: Base, instructions and training.
        seed: Of weights, mixture and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    types = set(items(plan.data))
    if not set(plan.held_out) < types:
        raise ValueError(
            f"--held-out {' '.join(plan.held_out)}: must be some of the types, and not all of them: "
            f"{', '.join(sorted(types))}"
        )
    costs = run.stage("costs", lambda: _costs(run))
    curves, mixtures = {}, {}
    for name, arm in ARMS.items():
        found = run.stage(name.replace(" ", "-").replace(",", ""), partial(_tune, run, arm))
        curves[name] = found["curve"]
        if arm.way == JUDGED.way:
            mixtures[name] = found["mixture"]
    tests = run.stage("tests", lambda: measure(output))
    for name, found in tests["systems"].items():
        shares = (f"{kind} {found[kind]['score']:.1%}" for kind in (SHOWN, NEW, NEVER) if kind in found)
        say(f"{name:28} {', '.join(shares)}")
    sampling = run.stage("sampling", lambda: _sampled(output))
    base = run.stage("base", lambda: _base(plan))
    results = {"costs": costs, "sizes": _sizes(plan), "mixtures": mixtures, "tests": tests}
    run.finish(results | {"sampling": sampling, "base": base}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the tuned models of a run anew, on items, words and types that they were not shown."""
    require_finished(NAME, folder)
    found = measure(folder, [JUDGED.name])
    judged, bar = found["systems"][JUDGED.name], found["systems"][FREQUENT]
    criteria = []
    for kind in (kind for kind in (SHOWN, NEW, NEVER) if kind in judged):
        low, wanted = judged[kind]["low"], bar[kind]["score"]
        what = f"right, {kind}, lower end of the interval"
        criteria.append(Criterion(what, low, f"above the most frequent answers, {wanted:.3f}", low > wanted))
    return criteria


def measure(folder: Path, names: Sequence[str] = (BASE, *ARMS)) -> dict[str, Any]:
    """Ask the base and tuned models, the judged one among them, for all types, and compare their answers."""
    plan = plan_of(Plan, folder)
    asked = questions(plan)
    often = _frequent(plan)
    right = {FREQUENT: [float(often[q.item.type] == q.item.answer) for q in asked]}
    said: dict[str, list[str]] = {}
    for name in names:
        chat = open_arm(folder, plan, None if name == BASE else ARMS[name])
        said[name] = _answers(chat, asked)
        right[name] = _right(asked, said[name])
    judged = said[JUDGED.name]
    return {
        "systems": {name: _summary(plan, asked, scores) for name, scores in right.items()},
        "types": _by_type(plan, asked, right[JUDGED.name]),
        "frequent": {name: found["score"] for name, found in _by_type(plan, asked, right[FREQUENT]).items()},
        "differences": {
            name: _difference(plan, asked, right[name], right[JUDGED.name])
            for name in names
            if name not in (BASE, JUDGED.name)
        },
        "decoys": {type_: _decoy_share(type_, asked, judged) for type_ in plan.held_out},
        "shown": [
            {"prompt": ask(*q)[:100], "wanted": q.item.answer, "answer": judged[i][:60]}
            for i, q in enumerate(asked)
            if q.item.type != asked[i - 1].item.type
        ],
    }


def questions(plan: Plan) -> list[Asked]:
    """Return the prompts of the test: of each type items that were held out, in words shown and not shown."""
    found = []
    for type_, every in items(plan.data).items():
        draw = random.Random(type_)
        test = [item for item in every if item.is_test]
        new = len(templates(type_)) - 1
        ways = range(len(templates(type_))) if type_ in plan.held_out else shown(type_)
        pool = [Asked(item, template) for item in test for template in ways]
        found += draw.sample(pool, min(N_TEST, len(pool)))
        if type_ not in plan.held_out and new not in ways:
            found += [Asked(item, new) for item in draw.sample(test, min(N_NEW, len(test)))]
    return found


def kind_of(plan: Plan, question: Asked) -> str:
    """Say what a prompt tests."""
    if question.item.type in plan.held_out:
        return NEVER
    return SHOWN if question.template in shown(question.item.type) else NEW


def open_arm(folder: Path, plan: Plan, arm: Arm | None) -> Chat:
    """Open a tuned model; None: the base."""
    chat = open_base(plan)
    if arm is not None:
        prepare(chat.model, arm, plan.rank)
        state = import_module("safetensors.torch").load_file(folder / "models" / f"{arm.name}.safetensors")
        chat.model.load_state_dict(state, strict=arm.way == "all weights")
    chat.model.eval()
    return chat


def open_base(plan: Plan) -> Chat:
    """Open the model to start from, in plain ChatML if it knows that: few templates say what is learned."""
    chat = open_chat(Origin(model=plan.base), [], seed=0)
    coder = as_coder(chat.tokenizer)
    if not {START, END} <= set(coder.control_tokens):
        return chat
    return replace(chat, template=chatml, end_id=coder.encode(END, True)[0][0])


def prepare(model: Any, arm: Arm, rank: int) -> None:
    """Make of a base what is to be tuned: quantized or not, with adapters or without."""
    if arm.way == "QLoRA":
        quantize(model)
    if arm.way != "all weights":
        adapt(model, rank)


def quantize(model: Any) -> Any:
    """Store the linear layers of the blocks in four bits, in place; the head stays as it is, as is usual."""
    return quantize_model(model, [name for name in linear_layers(model) if name != "head"])


def _summary(plan: Plan, asked: Sequence[Asked], scores: Sequence[float]) -> dict[str, Any]:
    """Score each kind of prompt, with an interval."""
    kinds = [kind_of(plan, q) for q in asked]
    return {
        kind: _interval(asked, scores, [each == kind for each in kinds])
        for kind in (SHOWN, NEW, NEVER)
        if kind in kinds
    }


def _by_type(plan: Plan, asked: Sequence[Asked], scores: Sequence[float]) -> dict[str, Any]:
    """Score each type in the words that are shown, or in all if it is never shown."""
    usual = [kind_of(plan, q) != NEW for q in asked]
    return {
        type_: _interval(
            asked, scores, [q.item.type == type_ and u for q, u in zip(asked, usual, strict=True)]
        )
        for type_ in dict.fromkeys(q.item.type for q in asked)
    }


def _difference(
    plan: Plan, asked: Sequence[Asked], one: Sequence[float], other: Sequence[float]
) -> dict[str, Any]:
    """Compare two models on the same prompts: shown types, the small ones among them, and types not shown."""
    gaps, sizes = [a - b for a, b in zip(one, other, strict=True)], _sizes(plan)
    is_shown = [kind_of(plan, q) == SHOWN for q in asked]
    is_small = [s and sizes[q.item.type] < SMALL for s, q in zip(is_shown, asked, strict=True)]
    never = [kind_of(plan, q) == NEVER for q in asked]
    chosen = {SHOWN: is_shown, "small types": is_small, NEVER: never}
    return {name: _interval(asked, gaps, which) for name, which in chosen.items() if any(which)}


def _decoy_share(type_: str, asked: Sequence[Asked], said: Sequence[str]) -> float:
    """Share of the prompts of a type that get the answer of its partner."""
    chosen = [
        (q.item.decoy, answer_of(type_, a)) for q, a in zip(asked, said, strict=True) if q.item.type == type_
    ]
    return fmean(bool(decoy) and a == decoy for decoy, a in chosen)


def _base(plan: Plan) -> dict[str, Any]:
    """Measure the base itself: what it knows and copies, and its loss on wanted replies, in four bits too."""
    chat, asked = open_base(plan), questions(plan)
    chat.model.eval()
    told = [type_ for type_ in dict.fromkeys(q.item.type for q in asked) if statement_of(type_)]
    known = {type_: _known(chat, type_, asked) for type_ in told}
    length = plan.context_length + 1
    talks = [chat.rendered(_talk(*q), length) for q in asked[::5]]
    wanted = Conversations(kept(talks, "conversations", length))
    found: dict[str, Any] = {"known": known, "copying": copying(chat.model)._asdict()}
    found["loss"] = {"float32": evaluate(chat.model, wanted, loss=batch_loss)}
    found["loss"]["NF4"] = evaluate(quantize(chat.model), wanted, loss=batch_loss)
    return found


def _known(chat: Chat, type_: str, asked: Sequence[Asked]) -> float:
    """Share of the items of a type whose statement a base completes: what it knows and is not asked."""
    before = statement_of(type_).partition("{a}")[0].rstrip()
    some = list(dict.fromkeys(q.item for q in asked if q.item.type == type_))
    prompts = [as_coder(chat.tokenizer).encode(before.format(*item.parts), False)[0] for item in some]
    said = write(chat, prompts, COMPLETION)
    return fmean(re.split(r"[.,\n]", a)[0] == item.answer for a, item in zip(said, some, strict=True))


def _interval(asked: Sequence[Asked], values: Sequence[float], which: Sequence[bool]) -> dict[str, float]:
    chosen = [i for i, is_in in enumerate(which) if is_in]
    groups = [f"{asked[i].item.type}|{'|'.join(asked[i].item.parts)}" for i in chosen]
    found = interval_over_groups([values[i] for i in chosen], groups)
    return {name: round(value, 4) for name, value in found._asdict().items()}


def _frequent(plan: Plan) -> dict[str, str]:
    """Find the most frequent answer of each type."""
    return {
        type_: Counter(item.answer for item in every if not item.is_test).most_common(1)[0][0]
        for type_, every in items(plan.data).items()
    }


def _answers(chat: Chat, asked: Sequence[Asked], **sampling: Any) -> list[str]:
    dequantize_model(chat.model)  # the same weights, computed once instead of for each token
    prompts = [chat.prompt([{"role": "user", "content": ask(*q)}]) for q in asked]
    return write(chat, prompts, ANSWER, **sampling)


def _right(asked: Sequence[Asked], said: Sequence[str]) -> list[float]:
    return [float(answer_of(q.item.type, a) == q.item.answer) for q, a in zip(asked, said, strict=True)]


def _sampled(folder: Path) -> dict[str, dict[str, float]]:
    """Answer the shown types by drawing, in several ways."""
    plan = plan_of(Plan, folder)
    asked = [q for q in questions(plan) if kind_of(plan, q) == SHOWN]
    types = dict.fromkeys(q.item.type for q in asked)
    asked = [q for type_ in types for q in [q for q in asked if q.item.type == type_][:N_DRAWN]]
    chat, found = open_arm(folder, plan, JUDGED), {}
    for name, sampling in SAMPLING.items():
        torch.manual_seed(0)
        said = _answers(chat, asked, **sampling)
        right = _right(asked, said)
        found[name] = _interval(asked, right, [True] * len(asked))
    return found


def _learned(plan: Plan) -> dict[str, list[Item]]:
    """Return the items to learn from, by type."""
    found = {}
    for type_, every in items(plan.data).items():
        if type_ not in plan.held_out:
            train_side = [item for item in every if not item.is_test]
            random.Random(0).shuffle(train_side)
            found[type_] = train_side[: TYPES[type_].size] if plan.data is None else train_side
    return found


def _sizes(plan: Plan) -> dict[str, int]:
    return {type_: len(some) for type_, some in _learned(plan).items()}


def _talk(item: Item, template: int) -> list[Message]:
    return [{"role": "user", "content": ask(item, template)}, {"role": "assistant", "content": reply(item)}]


def _conversations(chat: Chat, plan: Plan, temperature: float, seed: int) -> Conversations:
    """Draw the conversations of one training; each item in one of the ways to ask that are shown."""
    learned = _learned(plan)
    rates = mixing_rates(_sizes(plan), temperature)
    drawn = mixed(learned, rates, plan.n_steps * plan.batch_size, seed)
    draw, length = random.Random(seed), plan.context_length + 1
    talks = [_talk(item, draw.choice(shown(item.type))) for item in drawn]
    return Conversations(
        kept([chat.rendered(talk, length) for talk in talks], "conversations", length), seed=seed
    )


def _tune(run: Run, arm: Arm) -> dict[str, Any]:
    plan = run.plan
    chat = open_base(plan)
    torch.manual_seed(run.seed)
    prepare(chat.model, arm, plan.rank)
    model: Any = chat.model.to(run.device)
    settings = TrainConfig(
        n_steps=plan.n_steps,
        context_length=plan.context_length,
        batch_size=plan.batch_size,
        lr=plan.full_rate if arm.way == "all weights" else plan.adapter_rate,
        weight_decay=0.0,
        max_spike=inf,  # an answer unlike all that the base has read may cost more before it costs less
        log_every=max(1, plan.n_steps // 10),
        checkpoint_every=max(1, plan.n_steps // 2),  # of all weights it is three times the model
        keep_last=1,
        seed=run.seed,
    )
    checkpoints = run.output / "checkpoints" / arm.name
    with resumable(run.output):
        result = train(
            model,
            _conversations(chat, plan, arm.temperature, run.seed),
            settings,
            folder=checkpoints,
            loss=batch_loss,
            logger=loggers(run.output / "logs" / arm.name),
        )
    state = model.state_dict() if arm.way == "all weights" else adapter_state(model)
    place = run.output / "models" / f"{arm.name}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(place, {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    shutil.rmtree(checkpoints)
    curve = thinned(result.history)
    rates = mixing_rates(_sizes(plan), arm.temperature)
    return {
        "mixture": counts(rates, plan.n_steps * plan.batch_size),
        "curve": {name: curve[name][1::2] for name in ("step", "loss")},
    }


def _costs(run: Run) -> dict[str, Any]:
    """Measure an update of each way to tune, and what four bits do to the base."""
    found: dict[str, Any] = {}
    for arm in (JUDGED, Arm("LoRA", 2.0), Arm("all weights", 2.0)):
        chat = open_base(run.plan)
        prepare(chat.model, arm, run.plan.rank)
        model: Any = chat.model.to(run.device).train()
        data = _conversations(chat, run.plan, 2.0, seed=0)
        batch = to_device(data.batch(0, run.plan.batch_size), run.device)
        found[arm.way] = step_cost(model, batch)._asdict()
        layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
        if layers:
            n = sum(layer.in_features * layer.out_features for layer in layers)
            found["bits"] = 8 * sum(layer.n_bytes() for layer in layers) / n
    return found
