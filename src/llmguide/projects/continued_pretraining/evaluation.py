"""Measure what the models of a run predict of both kinds of held-out text."""

from pathlib import Path
from typing import Any

import torch

from llmguide.projects.analysis.held_out_bits import (
    best_ngram_bits,
    model_bits,
    rate,
    rate_difference,
)
from llmguide.projects.continued_pretraining.data import Plan, domain, general, held_out_texts, texts
from llmguide.projects.pretrained import open_pretrained, separator, sizes
from llmguide.projects.run import plan_of

VARIANTS = ("domain", "domain + replay", "domain, half frozen", "from nothing")
PAIRS = (  # whose difference has an interval
    *(("domain", "base"), ("domain + replay", "base"), ("domain + replay", "domain")),
    *((name, baseline) for name in ("base", "domain") for baseline in ("from nothing", "n-gram")),
)


def variants(plan: Plan) -> list[str]:
    """Return the runs of a plan; adapters leave the lower half frozen in all of them."""
    return [name for name in VARIANTS if plan.lora_rank is None or name != "domain, half frozen"]


def base_of(folder: Path, plan: Plan) -> str | Path:
    """Return where the base of a run is stored: in its folder, unless the plan names another one."""
    return folder / "models" / "base" if plan.base is None else plan.base


def measure(folder: Path) -> dict[str, Any]:
    """Measure the base and every continued model on held-out text of both kinds.

    Returns:
        The ``scores`` of each model, and those of an ``n-gram`` model of the domain. With a pretrained base
        also the ``differences`` between models in bits per byte, with 95% intervals over the documents.
    """
    plan = plan_of(Plan, folder)
    held_out = {"domain": held_out_texts(domain(plan), plan), "general": held_out_texts(general(plan), plan)}
    folders = {"base": base_of(folder, plan)} | {name: folder / "models" / name for name in variants(plan)}
    bits: dict[str, dict[str, list[float]]] = {}  # of each document
    scores: dict[str, Any] = {}
    for name, source in folders.items():
        model, tokenizer = open_pretrained(source)
        length = plan.context_length
        bits[name] = {kind: model_bits(model, tokenizer, part, length) for kind, part in held_out.items()}
        scores[name] = {kind: rate(bits[name][kind], part) for kind, part in held_out.items()}
        if plan.lora_rank is None:  # on one core it would double the time
            scores[name]["completed"] = completed(model, tokenizer, held_out["domain"], length)
    order, of_bytes = best_ngram_bits(texts(domain(plan), "train", plan.characters), held_out["domain"])
    bits["n-gram"] = {"domain": [float(each.sum()) for each in of_bytes]}
    ngram = {"domain": rate(bits["n-gram"]["domain"], held_out["domain"]), "order": order}
    if plan.base is None:
        return {"scores": scores, "n-gram": ngram}
    differences = {
        f"{one} minus {other}": {
            kind: rate_difference(bits[one][kind], bits[other][kind], held_out[kind]) for kind in bits[other]
        }
        for one, other in PAIRS
    }
    return {"scores": scores, "n-gram": ngram, "differences": differences}


@torch.inference_mode()
def completed(model: Any, tokenizer: Any, held_out: list[str], length: int) -> float:
    """Return the fraction of the bytes of texts that greedy completion gets right.

    Args:
        model: Decoder to measure.
        tokenizer: Tokenizer of the model.
        held_out: Texts to complete.
        length: Tokens of the windows in which the texts are read.

    Returns:
        The accuracy of the most likely next token, each token weighted by its bytes.
    """
    begin = separator(tokenizer)
    n_right = n_bytes = 0
    for text in held_out:
        ids = torch.tensor([begin, *tokenizer.encode(text)])
        for first in range(0, len(ids) - 1, length):
            window = ids[first : first + length + 1]
            right = (model(window[None, :-1])[0].argmax(-1) == window[1:]).tolist()
            n_of = sizes(tokenizer, window[1:].tolist())
            n_right += sum(n for n, is_right in zip(n_of, right, strict=True) if is_right)
            n_bytes += sum(n_of)
    return n_right / n_bytes
