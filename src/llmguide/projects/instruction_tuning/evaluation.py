"""Test instruction-tuned models on held-out items, paraphrased instructions and held-out types."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from llmguide.post_training.adapters.quantized_linear import dequantize_model
from llmguide.post_training.chat import Message
from llmguide.post_training.sft import SFTDataset
from llmguide.post_training.tokenizer_interface import as_adapter
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.analysis.induction import copying
from llmguide.projects.generation import respond
from llmguide.projects.instruction_tuning.data import (
    N_PARAPHRASED,
    Item,
    answer_of,
    ask,
    items,
    reply,
    shown,
    statement_of,
    templates,
    training_sizes,
)
from llmguide.projects.instruction_tuning.models import (
    CHECKED,
    CONDITIONS,
    Plan,
    open_base,
    open_condition,
    quantize,
)
from llmguide.projects.instruction_tuning.nearest_neighbors import best_neighbor_answers
from llmguide.projects.run import plan_of
from llmguide.runs.chat_model import Chat
from llmguide.runs.lifecycle import drop_too_long
from llmguide.training.losses import batch_loss
from llmguide.training.step import evaluate

N_TEST = 16  # prompts of each type
N_SAMPLED = 5  # prompts of each type in the comparison of sampling methods
MAX_NEW_TOKENS = 20  # most tokens of an answer
MAX_STATEMENT_TOKENS = 8  # most tokens of the end of a statement
SMALL = 150  # a type with fewer items is small
SEEN, PARAPHRASED, UNSEEN = "shown types", "new words", "types never shown"
BASE, FREQUENT, NEAREST = "base", "the most frequent answer", "the nearest neighbors"
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {},
    "temperature 1": {"temperature": 1.0},
    "temperature 1, top-k 5": {"temperature": 1.0, "top_k": 5},
    "temperature 1, top-p 0.9": {"temperature": 1.0, "top_p": 0.9},
}


class Prompt(NamedTuple):
    """A test prompt: an item, and the number of the template that it is put in."""

    item: Item
    template: int


def measure(folder: Path, names: Sequence[str] = (BASE, *CONDITIONS)) -> dict[str, Any]:
    """Let the base and fine-tuned models, the checked one among them, answer the test prompts."""
    plan = plan_of(Plan, folder)
    prompts = held_out_prompts(plan)
    frequent = most_frequent(plan)
    n_neighbors, by_neighbors = nearest_scores(plan, prompts)
    right = {
        FREQUENT: [float(frequent[p.item.type] == p.item.answer) for p in prompts],
        NEAREST: by_neighbors,
    }
    answers: dict[str, list[str]] = {}
    for name in names:
        chat = open_condition(folder, plan, None if name == BASE else CONDITIONS[name])
        answers[name] = _answers(chat, prompts)
        right[name] = right_answers(prompts, answers[name])
    checked = answers[CHECKED.name]
    by_type = _by_type(plan, prompts, right[FREQUENT])
    return {
        "systems": {name: summary(plan, prompts, scores) for name, scores in right.items()},
        "types": _by_type(plan, prompts, right[CHECKED.name]),
        "neighbors": n_neighbors,
        "frequent": {name: interval["score"] for name, interval in by_type.items()},
        "differences": {
            name: _difference(plan, prompts, right[name], right[CHECKED.name])
            for name in right
            if name not in (BASE, FREQUENT, CHECKED.name)
        },
        "decoys": {type_: _decoy_rate(type_, prompts, checked) for type_ in plan.held_out},
        "shown": [
            {"prompt": ask(*p)[:100], "wanted": p.item.answer, "answer": checked[i][:60]}
            for i, p in enumerate(prompts)
            if p.item.type != prompts[i - 1].item.type
        ],
    }


def held_out_prompts(plan: Plan) -> list[Prompt]:
    """Return the test prompts: held-out items of each type, in seen and paraphrased instructions."""
    prompts = []
    for type_, every in items(plan.data).items():
        rng = random.Random(type_)
        test = [item for item in every if item.is_test]
        paraphrase = len(templates(type_)) - 1
        numbers = range(len(templates(type_))) if type_ in plan.held_out else shown(type_)
        pool = [Prompt(item, template) for item in test for template in numbers]
        prompts += rng.sample(pool, min(N_TEST, len(pool)))
        if type_ not in plan.held_out and paraphrase not in numbers:
            sample = rng.sample(test, min(N_PARAPHRASED, len(test)))
            prompts += [Prompt(item, paraphrase) for item in sample]
    return prompts


def kind_of(plan: Plan, prompt: Prompt) -> str:
    """Return which kind of generalization a prompt tests."""
    if prompt.item.type in plan.held_out:
        return UNSEEN
    return SEEN if prompt.template in shown(prompt.item.type) else PARAPHRASED


def conversation(item: Item, template: int) -> list[Message]:
    """Return an instruction and its reply as messages."""
    return [{"role": "user", "content": ask(item, template)}, {"role": "assistant", "content": reply(item)}]


def compare_sampling(folder: Path) -> dict[str, dict[str, float]]:
    """Measure the accuracy of the checked model on seen types, with several sampling methods."""
    plan = plan_of(Plan, folder)
    prompts = [p for p in held_out_prompts(plan) if kind_of(plan, p) == SEEN]
    types = dict.fromkeys(p.item.type for p in prompts)
    prompts = [p for type_ in types for p in [p for p in prompts if p.item.type == type_][:N_SAMPLED]]
    chat, intervals = open_condition(folder, plan, CHECKED), {}
    for name, sampling in SAMPLING.items():
        torch.manual_seed(0)
        right = right_answers(prompts, _answers(chat, prompts, **sampling))
        intervals[name] = _interval(prompts, right, [True] * len(prompts))
    return intervals


def measure_base(plan: Plan) -> dict[str, Any]:
    """Measure the base: what it knows and copies, and its loss on correct replies, in four bits too."""
    chat, prompts = open_base(plan), held_out_prompts(plan)
    chat.model.eval()
    with_statement = [t for t in dict.fromkeys(p.item.type for p in prompts) if statement_of(t)]
    known = {type_: _known(chat, type_, prompts) for type_ in with_statement}
    length = plan.context_length + 1
    rendered = [chat.rendered(conversation(*p), length) for p in prompts[::5]]
    replies = SFTDataset(drop_too_long(rendered, "conversations", length))
    results: dict[str, Any] = {"known": known, "copying": copying(chat.model)._asdict()}
    results["loss"] = {"float32": evaluate(chat.model, replies, loss=batch_loss)}
    results["loss"]["NF4"] = evaluate(quantize(chat.model), replies, loss=batch_loss)
    return results


def summary(plan: Plan, prompts: Sequence[Prompt], scores: Sequence[float]) -> dict[str, Any]:
    """Return the accuracy on each kind of prompt, with its interval."""
    kinds = [kind_of(plan, p) for p in prompts]
    return {
        kind: _interval(prompts, scores, [each == kind for each in kinds])
        for kind in (SEEN, PARAPHRASED, UNSEEN)
        if kind in kinds
    }


def _by_type(plan: Plan, prompts: Sequence[Prompt], scores: Sequence[float]) -> dict[str, Any]:
    """Return the accuracy on each type, in seen instructions, or in all if the type is held out."""
    standard = [kind_of(plan, p) != PARAPHRASED for p in prompts]
    return {
        type_: _interval(
            prompts, scores, [p.item.type == type_ and s for p, s in zip(prompts, standard, strict=True)]
        )
        for type_ in dict.fromkeys(p.item.type for p in prompts)
    }


def _difference(
    plan: Plan, prompts: Sequence[Prompt], scores: Sequence[float], baseline: Sequence[float]
) -> dict[str, Any]:
    """Compare two systems on the same prompts: each kind of them, and the small ones of the seen types."""
    gaps, sizes = (
        [a - b for a, b in zip(scores, baseline, strict=True)],
        training_sizes(plan.data, plan.held_out),
    )
    chosen = {kind: [kind_of(plan, p) == kind for p in prompts] for kind in (SEEN, PARAPHRASED, UNSEEN)}
    is_small = [sizes.get(p.item.type, SMALL) < SMALL for p in prompts]
    chosen["small types"] = [a and b for a, b in zip(chosen[SEEN], is_small, strict=True)]
    return {name: _interval(prompts, gaps, which) for name, which in chosen.items() if any(which)}


def _decoy_rate(type_: str, prompts: Sequence[Prompt], answers: Sequence[str]) -> float:
    """Return the fraction of the prompts of a type that get the answer of its partner."""
    chosen = [
        (p.item.decoy, answer_of(type_, a))
        for p, a in zip(prompts, answers, strict=True)
        if p.item.type == type_
    ]
    return fmean(bool(decoy) and a == decoy for decoy, a in chosen)


def _known(chat: Chat, type_: str, prompts: Sequence[Prompt]) -> float:
    """Return the fraction of the items of a type whose statement a base completes correctly."""
    prefix = statement_of(type_).partition("{a}")[0].rstrip()
    tested = list(dict.fromkeys(p.item for p in prompts if p.item.type == type_))
    ids = [as_adapter(chat.tokenizer).encode(prefix.format(*item.parts), False)[0] for item in tested]
    texts = respond(chat, ids, MAX_STATEMENT_TOKENS)
    return fmean(re.split(r"[.,\n]", a)[0] == item.answer for a, item in zip(texts, tested, strict=True))


def _interval(prompts: Sequence[Prompt], values: Sequence[float], which: Sequence[bool]) -> dict[str, float]:
    chosen = [i for i, is_in in enumerate(which) if is_in]
    groups = [f"{prompts[i].item.type}|{'|'.join(prompts[i].item.parts)}" for i in chosen]
    interval = cluster_bootstrap_interval([values[i] for i in chosen], groups)
    return {name: round(value, 4) for name, value in interval._asdict().items()}


def nearest_scores(plan: Plan, prompts: Sequence[Prompt]) -> tuple[int, list[float]]:
    """Return the number of nearest neighbors that vote, and 1 for each prompt that they answer correctly."""
    wanted = [p.item.answer for p in prompts]
    n, answers = best_neighbor_answers(plan.data, plan.held_out, [ask(*p) for p in prompts], wanted)
    return n, [float(a == b) for a, b in zip(answers, wanted, strict=True)]


def most_frequent(plan: Plan) -> dict[str, str]:
    """Return the most frequent answer of each type."""
    return {
        type_: Counter(item.answer for item in every if not item.is_test).most_common(1)[0][0]
        for type_, every in items(plan.data).items()
    }


def _answers(chat: Chat, prompts: Sequence[Prompt], **sampling: Any) -> list[str]:
    dequantize_model(chat.model)  # the same weights, computed once instead of for each token
    ids = [chat.prompt([{"role": "user", "content": ask(*p)}]) for p in prompts]
    return respond(chat, ids, MAX_NEW_TOKENS, **sampling)


def right_answers(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    """Return 1 for each right reply, and 0 for the others."""
    return [float(answer_of(p.item.type, a) == p.item.answer) for p, a in zip(prompts, texts, strict=True)]
