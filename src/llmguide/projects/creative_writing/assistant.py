"""Fine-tune a pretrained chat model to rewrite in another style, and to keep to a character sheet.

Both tasks are learned together by LoRA adapters, without labels: rewriting from sentences of two styles and
their content words (`llmguide.projects.creative_writing.rewriting`), and character sheets from the base's own
continuations that pass the checks (`llmguide.projects.creative_writing.characters`). The requests are those
that the application sends.

Leaves out: preferences, which `llmguide dpo` trains on.
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from llmguide.evaluation.metrics import bootstrap_interval
from llmguide.post_training.sft import SFTDataset
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.analysis.text_style import distinct
from llmguide.projects.creative_writing import characters
from llmguide.projects.creative_writing.characters import Scene, scenes
from llmguide.projects.creative_writing.rewriting import (
    STYLES,
    StyleClassifier,
    deleted_messages,
    nearest,
    overlap,
    split_sentences,
    swapped,
    whole_messages,
)
from llmguide.projects.creative_writing.texts import Plan
from llmguide.projects.generation import respond
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt
from llmguide.projects.run import Run, plan_of
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import Chat, merged, open_chat
from llmguide.runs.folder import say
from llmguide.runs.options import ModelSource
from llmguide.training.losses import batch_loss

RANK = 16  # of the adapters
CONTEXT = 256  # tokens of a training example
N_REWRITINGS = 120  # sentences of each style to learn from
N_SAMPLED = 200  # scenes that the base continues, of which those that pass the checks are kept
N_TESTS = 40  # held-out sentences of each style, and half of the held-out scenes
MAX_NEW_TOKENS = 48
TEMPERATURE = 0.7  # of the continuations of stories; rewriting is greedy
N_SHOWN = 3  # rewritings into each style, and continuations, of which a record has the text
N_TRIES = 3  # continuations of which the checks choose one
PLAIN = "You are a writer's assistant. Write the next two sentences of the story."
Messages = tuple[dict[str, str], ...]


def project(run: Run) -> None:
    """Train adapters of the base on both tasks, and measure it before and after."""
    kept = run.stage("scenes", lambda: _sample_scenes(run))
    learned = run.stage("assistant", lambda: _learn(run, kept["rows"]))
    scores = run.stage("scores", lambda: measure(run.output))
    for task in ("rewriting", "characters"):
        for name, score in scores[task].items():
            say(
                f"{task}: {name:24} "
                + ", ".join(f"{key} {value['score']:.0%}" for key, value in score.items())
            )
    sizes = {"n_examples": learned["n_examples"], "n_scenes": len(kept["rows"]), "n_sampled": N_SAMPLED}
    run.finish(sizes | scores, {"assistant": learned["curve"]})


def check(folder: Path) -> list[Criterion]:
    """Measure the model of a run again: it improves on its base in both tasks."""
    gains = measure(folder)["gains"]
    return [above(f"{name}, gain over the base, lower bound", gain["low"], 0) for name, gain in gains.items()]


def scene_messages(scene: Scene, *, sheet: bool = True) -> Messages:
    """Write the request to continue a story, with the character sheet or without."""
    task = characters.task([scene.character]) if sheet else PLAIN
    return ({"role": "system", "content": task}, {"role": "user", "content": scene.opening})


def ask(chat: Chat, requests: Sequence[Messages], *, seed: int | None = None) -> list[str]:
    """Let a model answer requests up to the end of its last whole sentence: sampled, or greedily."""
    sampling = {} if seed is None else {"temperature": TEMPERATURE, "top_p": 0.95, "seed": seed}
    texts = respond(chat, [chat.prompt(request) for request in requests], MAX_NEW_TOKENS, **sampling)
    return [whole_sentences(text) for text in texts]


def whole_sentences(text: str) -> str:
    """Cut a text after its last sentence that ends; a text without one stays.

    >>> whole_sentences("She ran. He fol"), whole_sentences("and so")
    ('She ran.', 'and so')
    """
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1] if end >= 0 else text


def _sample_scenes(run: Run) -> dict[str, Any]:
    chat = open_chat(ModelSource(run.plan.base), [], seed=0)
    sampled = scenes(N_SAMPLED, held_out=False, seed=run.seed)
    texts = ask(chat, [scene_messages(scene) for scene in sampled], seed=run.seed)
    kept = [
        {"messages": scene_messages(scene), "response": text}
        for scene, text in zip(sampled, texts, strict=True)
        if all(characters.check(text, [scene.character], scene.opening).values())
    ]
    say(f"{len(kept)} of {N_SAMPLED} continuations pass the checks")
    return {"rows": kept}


def _learn(run: Run, kept: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    chat = open_chat(ModelSource(run.plan.base), [], seed=0)
    rng, rows = random.Random(run.seed), list(kept)
    for style, sides in split_sentences().items():
        sample = rng.sample(sides["train"], N_REWRITINGS)
        rows += [{"messages": deleted_messages(text, style), "response": text} for text in sample]
    rendered = (chat.rendered(row["messages"], CONTEXT, response=row["response"]) for row in rows)
    examples = [example for example in rendered if example is not None]
    say(f"{len(examples)} examples, {sum(len(example.ids) for example in examples):,} tokens")
    torch.manual_seed(run.seed)
    adapt(chat.model, RANK)
    config = stage_config(run, len(examples) // run.plan.batch_size, run.plan.task_rate, **ADAPTER_TRAINING)
    data = SFTDataset(examples, seed=run.seed)
    result = train_stage(run, "assistant", chat.model, data, config, loss=batch_loss)
    chat.save(run.output / "models" / "assistant", merged(chat.model))
    return {"n_examples": len(examples), "curve": loss_curve(result.history)}


def measure(folder: Path) -> dict[str, Any]:
    """Measure the base, the fine-tuned model and the baselines on held-out sentences and scenes."""
    base = open_chat(ModelSource(plan_of(Plan, folder).base), [], seed=0)
    tuned = open_chat(ModelSource(str(folder / "models" / "assistant")), [], seed=0)
    rewriting, stories = measure_rewriting(base, tuned), measure_characters(base, tuned)
    return {
        **rewriting["shown"],
        "rewriting": rewriting["scores"],
        "characters": stories["scores"],
        "gains": {"rewriting": rewriting["gain"], "character sheet": stories["gain"]},
        "distinct pairs": stories["distinct pairs"],
        "samples": {"rewriting": rewriting["samples"], "characters": stories["samples"]},
    }


def measure_rewriting(base: Chat, tuned: Chat) -> dict[str, Any]:
    """Rewrite held-out sentences of each style in the other one."""
    sides = split_sentences()
    classifier = StyleClassifier.train({style: each["classifier"] for style, each in sides.items()})
    held_out = {style: random.Random(0).sample(each["held out"], N_TESTS) for style, each in sides.items()}
    other = dict(zip(STYLES, reversed(STYLES), strict=True))
    pairs = [(sentence, other[style]) for style, each in held_out.items() for sentence in each]
    texts = {
        "copy": [sentence for sentence, _ in pairs],
        "word swaps": [swapped(sentence, target) for sentence, target in pairs],
        "nearest sentence": [nearest(sentence, sides[target]["train"]) for sentence, target in pairs],
        "base": ask(base, [whole_messages(*pair) for pair in pairs]),
        "base, content words": ask(base, [deleted_messages(*pair) for pair in pairs]),
        "model": ask(tuned, [deleted_messages(*pair) for pair in pairs]),
    }
    values = {
        name: [
            {"style": float(classifier.style(text) == target), "content": overlap(sentence, text)}
            for text, (sentence, target) in zip(each, pairs, strict=True)
        ]
        for name, each in texts.items()
    }
    both = {name: [value["style"] * value["content"] for value in each] for name, each in values.items()}
    simple = max(
        ("copy", "word swaps", "nearest sentence", "base", "base, content words"),
        key=lambda n: fmean(both[n]),
    )
    right = [classifier.style(text) == style for style, each in held_out.items() for text in each]
    return {
        "scores": {
            name: {key: _interval([value[key] for value in each]) for key in ("style", "content")}
            | {"both": _interval(both[name])}
            for name, each in values.items()
        },
        "gain": _difference(both["model"], both[simple]),
        "shown": {"classifier": fmean(right), "best other rewriting": simple, "n_rewritten": len(pairs)},
        "samples": [
            {"source": pairs[i][0], "base": texts["base"][i], "model": texts["model"][i]}
            for first in (0, N_TESTS)
            for i in range(first, first + min(N_SHOWN, N_TESTS))
        ],
    }


def measure_characters(base: Chat, tuned: Chat) -> dict[str, Any]:
    """Continue held-out scenes: without the sheet, with it, with several tries, and after fine-tuning."""
    tests = scenes(2 * N_TESTS, held_out=True, seed=0)
    requests = [scene_messages(scene) for scene in tests]
    tries = [ask(base, requests, seed=i) for i in range(N_TRIES)]

    def n_passed(i: int, text: str) -> int:
        return sum(characters.check(text, [tests[i].character], tests[i].opening).values())

    chosen = [max(each, key=partial(n_passed, i)) for i, each in enumerate(zip(*tries, strict=True))]
    texts = {
        "no sheet": ask(base, [scene_messages(scene, sheet=False) for scene in tests], seed=0),
        "base": tries[0],
        "base, best of several": chosen,
        "model": ask(tuned, requests, seed=0),
    }
    checks = {
        name: [
            characters.check(text, [scene.character], scene.opening)
            for text, scene in zip(each, tests, strict=True)
        ]
        for name, each in texts.items()
    }
    passed = {name: [float(all(one.values())) for one in each] for name, each in checks.items()}
    return {
        "scores": {
            name: {key: _interval([float(one[key]) for one in each]) for key in each[0]}
            | {"all": _interval(passed[name])}
            for name, each in checks.items()
        },
        "gain": _difference(passed["model"], passed["base"]),
        "distinct pairs": {name: distinct(each) for name, each in texts.items()},
        "samples": [
            {"sheet": str(tests[i].character), "opening": tests[i].opening}
            | {name: texts[name][i] for name in ("no sheet", "base", "model")}
            for i in range(N_SHOWN)
        ],
    }


def _interval(values: Sequence[float]) -> dict[str, float]:
    return bootstrap_interval(values)._asdict()


def _difference(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    return _interval([a - b for a, b in zip(values, others, strict=True)])
