r"""Project: fine-tune a base to follow instructions of many types, and test it on held-out types.

A pretrained base is quantized to four bits, and adapters are trained on it (QLoRA) on eleven types of
instructions, with fifty to three thousand items each: mixed in proportion to these sizes, evenly, or in
between. It is tested on held-out items, on paraphrased instructions, and on four held-out types. The same
with adapters on a base that is not quantized, and with full fine-tuning, shows what four bits and low ranks
cost.

References: Wei et al. 2021, arXiv:2109.01652 (held-out types); Raffel et al. 2019, arXiv:1910.10683, section
3.5.2 (mixing); Dettmers et al. 2023, arXiv:2305.14314 (QLoRA).

Leaves out: answers that a person or a model would have to rate; all are compared as strings.
"""

import random
import shutil
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch

from llmguide.data.tokens.windows import to_device
from llmguide.post_training.adapters.lora import adapter_state
from llmguide.post_training.adapters.quantized_linear import QuantizedLinear
from llmguide.post_training.sft import SFTDataset
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.analysis.profiling import step_cost
from llmguide.projects.instruction_tuning.data import items, shown, training_items, training_sizes
from llmguide.projects.instruction_tuning.evaluation import (
    FREQUENT,
    PARAPHRASED,
    SEEN,
    UNSEEN,
    compare_sampling,
    conversation,
    measure,
    measure_base,
)
from llmguide.projects.instruction_tuning.models import (
    CHECKED,
    CONDITIONS,
    Condition,
    Plan,
    open_base,
    prepare,
)
from llmguide.projects.mixing_rates import counts, mixed, mixing_rates
from llmguide.projects.run import Run
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import Chat
from llmguide.runs.folder import say
from llmguide.runs.lifecycle import drop_too_long
from llmguide.training.losses import batch_loss

TITLES = {SEEN: "seen tasks", PARAPHRASED: "paraphrases", UNSEEN: "held-out tasks"}


def project(run: Run) -> None:
    """Fine-tune a base on instructions of many types; test it on held-out items, paraphrases and types."""
    plan = run.plan
    types = set(items(plan.data))
    if not set(plan.held_out) < types:
        raise ValueError(
            f"--held-out {' '.join(plan.held_out)}: must be some of the types, and not all of them: "
            f"{', '.join(sorted(types))}"
        )
    costs = run.stage("costs", lambda: _costs(run))
    curves, mixtures = {}, {}
    for name, condition in CONDITIONS.items():
        stage = name.replace(" ", "-").replace(",", "")
        training = run.stage(stage, partial(_fine_tune, run, condition))
        curves[name] = training["curve"]
        if condition.method == CHECKED.method:
            mixtures[name] = training["mixture"]
    tests = run.stage("tests", lambda: measure(run.output))
    for name, kinds in tests["systems"].items():
        accuracies = (f"{kind} {interval['score']:.1%}" for kind, interval in kinds.items())
        say(f"{name:28} {', '.join(accuracies)}")
    sampling = run.stage("sampling", lambda: compare_sampling(run.output))
    base = run.stage("base", lambda: measure_base(plan))
    sizes = training_sizes(plan.data, plan.held_out)
    results = {"costs": costs, "sizes": sizes, "mixtures": mixtures, "tests": tests}
    run.finish(results | {"sampling": sampling, "base": base}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure a fine-tuned model of a run again, on held-out items, paraphrases and types."""
    systems = measure(folder, [CHECKED.name])["systems"]
    return criteria_of(systems[CHECKED.name], systems[FREQUENT])


def criteria_of(checked: dict[str, Any], baseline: dict[str, Any]) -> list[Criterion]:
    """Require more right answers than the most frequent one gives, on each kind of prompt."""
    return [
        above(f"accuracy on {title}, lower bound", checked[kind]["low"], baseline[kind]["score"], FREQUENT)
        for kind, title in TITLES.items()
        if kind in checked
    ]


def _conversations(chat: Chat, plan: Plan, temperature: float, seed: int) -> SFTDataset:
    """Sample the conversations of one training; each item in one of the seen templates."""
    pool = training_items(plan.data, plan.held_out)
    rates = mixing_rates(training_sizes(plan.data, plan.held_out), temperature)
    sample = mixed(pool, rates, plan.n_steps * plan.batch_size, seed)
    rng, length = random.Random(seed), plan.context_length + 1
    messages = [conversation(item, rng.choice(shown(item.type))) for item in sample]
    rendered = [chat.rendered(each, length) for each in messages]
    return SFTDataset(drop_too_long(rendered, "conversations", length), seed=seed)


def _fine_tune(run: Run, condition: Condition) -> dict[str, Any]:
    plan, name = run.plan, condition.name
    is_full = condition.method == "all weights"
    chat = open_base(plan)
    torch.manual_seed(run.seed)
    prepare(chat.model, condition, plan.rank)
    config = stage_config(
        run,
        plan.n_steps,
        plan.full_rate if is_full else plan.adapter_rate,
        optimizer="adamw",
        weight_decay=0.0,
        max_spike=inf,  # the loss of answers unlike the pre-training may rise before it falls
        checkpoint_every=max(1, plan.n_steps // 2),  # in full fine-tuning, three times the model each
        keep_last=1,
    )
    data = _conversations(chat, plan, condition.temperature, run.seed)
    result = train_stage(run, name, chat.model, data, config, loss=batch_loss)
    run.save_weights(name, chat.model.state_dict() if is_full else adapter_state(chat.model))
    shutil.rmtree(run.output / "checkpoints" / name)
    curve = loss_curve(result.history)
    rates = mixing_rates(training_sizes(plan.data, plan.held_out), condition.temperature)
    return {
        "mixture": counts(rates, plan.n_steps * plan.batch_size),
        "curve": {name: curve[name][1::2] for name in ("step", "loss")},
    }


def _costs(run: Run) -> dict[str, Any]:
    """Measure an optimizer step of each method, and the bits per weight of the quantized base."""
    costs: dict[str, Any] = {}
    data = _conversations(open_base(run.plan), run.plan, 2.0, seed=0)
    batch = to_device(data.batch(0, run.plan.batch_size), run.device)
    for condition in (CHECKED, Condition("LoRA", 2.0), Condition("all weights", 2.0)):
        chat = open_base(run.plan)
        prepare(chat.model, condition, run.plan.rank)
        model: Any = chat.model.to(run.device).train()
        costs[condition.method] = step_cost(model, batch)._asdict()
        layers = [m for m in model.modules() if isinstance(m, QuantizedLinear)]
        if layers:
            n = sum(layer.in_features * layer.out_features for layer in layers)
            costs["bits"] = 8 * sum(layer.n_bytes() for layer in layers) / n
    return costs
