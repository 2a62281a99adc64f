r"""Project: a code assistant that fills in what belongs at the cursor, and learns from thumbs.

A decoder reads source code in an order in which what follows a cursor comes first
(`llmguide.data.tokens.fill_in_the_middle`, SPM), so that it writes what stands between a prefix and a suffix.
Half of the middles are the rest of a line, which is what an editor asks for. It is measured on lines of
modules that it has not read, beside the most frequent rest of a line, and a search that copies what followed
the same text elsewhere. In the end it learns from comparisons by DPO: those of the application's users, or of
a simulated developer, who prefers what is closer to what was really written.

References: filling in the middle (Bavarian et al. 2022, arXiv:2207.14255); edit similarity as a measure of
completion (Svyatkovskiy et al. 2020, arXiv:2005.08025).

Leaves out: other files of the project beside the one that is open, and completions of several lines, which a
context of 256 tokens has no room for.
"""

import ast
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from llmguide.coding.patterns.dynamic import edit_distance
from llmguide.data.corpora import in_validation, load_corpus, standard_library
from llmguide.data.documents import Document
from llmguide.data.tokens.fill_in_the_middle import SENTINELS, FillInTheMiddle, Parts, cut
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.evaluation.metrics import bootstrap_interval, wilson_interval
from llmguide.models import build
from llmguide.post_training.sft import Conversations, completion
from llmguide.projects.run import Criterion, Run, plan_of, require_both_sides, require_finished, small_decoder
from llmguide.projects.user_preferences import learn, of_users, simulated, train_stage, write
from llmguide.runs.folder import load_run, n_params, say
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.losses import batch_loss

NAME = "code-assistant"
HELD_OUT = 0.1  # of the modules
BLOCK = 480  # characters of a block of lines, at least
BEFORE, AFTER = 320, 160  # characters before and after the cursor that the model is shown
LONGEST = 48  # tokens of a completion
TEMPERATURE = 0.8  # of the two completions that are compared
ALIKE = 0.15  # of similarity: what the simulated developer does not see
N_TESTS = 400  # lines
N_COUNTED = 1_000  # lines that were read, of whose rests the most frequent is a bar


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    corpus: str | None = None  # a folder of Python; None: the source of its standard library
    feedback: str | None = None  # the application's database; None: a simulated developer
    characters: int = 4_000_000  # of code to read
    vocab_size: int = 1024  # of the tokenizer
    n_layers: int = 3  # blocks
    d_model: int = 96  # width
    n_heads: int = 3  # attention heads
    context_length: int = 256  # tokens of prefix, suffix and completion
    batch_size: int = 8  # rows of an update, each full of blocks
    n_steps: int = 800  # updates
    lr: float = 1e-2  # the peak
    n_pairs: int = 2000  # pairs of completions that the simulated developer is shown
    preference_rate: float = 1.5e-3  # the peak
    beta: float = 0.1  # weight of the divergence in DPO


class Place(NamedTuple):
    """A cursor in a file, and the rest of its line.

    Attributes:
        file: The whole text.
        at: Where the cursor is.
        rest: What was really written, to the end of the line.
    """

    file: str
    at: int
    rest: str

    @property
    def before(self) -> str:
        """Text before the cursor, as much as the model is shown."""
        return self.file[max(0, self.at - BEFORE) : self.at]

    @property
    def after(self) -> str:
        """Text after the line, as much as the model is shown."""
        end = self.at + len(self.rest)
        return self.file[end : end + AFTER]


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Train a model to fill in code, and let it learn from comparisons.

    Args:
        plan: Code, model and training.
        seed: Of weights, order and draws.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    require_both_sides(f"--corpus {plan.corpus}, files that end in .py", code(plan), HELD_OUT)
    filling = run.stage("filling", lambda: _learn_to_fill(run))
    compared = run.stage("comparisons", lambda: _compare(run))
    preferences = run.stage("preferences", lambda: _learn_preferences(run, compared))
    scores = run.stage("scores", lambda: measure(output))
    for name, found in scores["lines"].items():
        exact, similar = found["exact"]["score"], found["similarity"]
        say(f"{name:24} {exact:.1%} exact, {similar:.3f} similar, {found['parses']:.1%} parse")
    curves = {"filling": filling["curve"], "preferences": preferences["curve"]}
    run.finish({"n_params": filling["n_params"], "n_pairs": preferences["n_pairs"], **scores}, curves)


def check(folder: Path) -> list[Criterion]:
    """Measure the models of a run anew: they fill in better than by habit, and learn from comparisons."""
    require_finished(NAME, folder)
    gains = measure(folder)["gains"]
    return [
        Criterion(f"similarity gained {how}, lower end", gains[how]["low"], "above 0", gains[how]["low"] > 0)
        for how in ("over the usual", "by comparisons")
    ]


# ---- code ------------------------------------------------------------------------------------------------


def code(plan: Plan) -> Iterator[Document]:
    """Read the modules of the code base."""
    corpus = load_corpus(plan.corpus) if plan.corpus else standard_library()
    return (document for document in corpus if document.id.endswith(".py"))


def files(plan: Plan, *, held_out: bool) -> list[Document]:
    """Read one side of the code, up to so many characters, in an order that does not follow the names."""
    found = [document for document in code(plan) if in_validation(document.id, HELD_OUT) == held_out]
    random.Random(0).shuffle(found)
    kept, n = [], 0
    for document in found:
        if n < plan.characters:
            kept.append(document)
            n += len(document.text)
    return kept


def blocks(text: str) -> Iterator[str]:
    r"""Cut a file into runs of whole lines.

    >>> [len(block) for block in blocks("x = 1\n" * 200)]
    [480, 480, 240]
    """
    block = ""
    for line in text.splitlines(keepends=True):
        block += line
        if len(block) >= BLOCK:
            yield block
            block = ""
    if block:
        yield block


def parts(block: str, draw: random.Random) -> Parts:
    """Cut a block in three: in half of the cases at a cursor and the end of its line, else anywhere."""
    if draw.random() < 0.5:
        return cut(block, draw)
    at = draw.randrange(len(block))
    end = block.find("\n", at)
    end = len(block) if end < 0 else end
    return Parts(block[:at], block[at:end], block[end:])


def places(documents: Sequence[Document], n: int, *, seed: int) -> list[Place]:
    """Draw cursors within lines of code, of which enough is written and enough is left to write.

    Args:
        documents: Files of Python; those that do not parse are left out.
        n: How many.
        seed: Of the draws.
    """
    draw = random.Random(seed)
    found: list[Place] = []
    texts = [document.text for document in documents if _parses(document.text)]
    while len(found) < n and texts:
        text = draw.choice(texts)
        at = draw.randrange(len(text) + 1)
        first, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
        line, rest = text[first:at].strip(), text[at:end] if end >= 0 else text[at:]
        if len(line) >= 4 and len(rest.strip()) >= 4 and not line.startswith("#"):
            found.append(Place(text, at, rest))
    return found


# ---- stages ----------------------------------------------------------------------------------------------


def _learn_to_fill(run: Run) -> dict[str, Any]:
    plan, read = run.plan, files(run.plan, held_out=False)
    if plan.feedback is not None:
        of_users(plan.feedback, NAME)  # or it would be missed after minutes of training
    special = [END_OF_TEXT, *SENTINELS]
    tokenizer = Tokenizer.train((d.text for d in read), plan.vocab_size, special_tokens=special)
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    model: Any = build(small_decoder(tokenizer.vocab_size, plan.context_length, **sizes))
    fim, end, draw = FillInTheMiddle(tokenizer), special_id(tokenizer), random.Random(run.seed)
    rows = (fim.encode(parts(block, draw), spm=True) for d in read for block in blocks(d.text))
    examples = [completion([end], [*row, end]) for row in rows]
    examples = [example for example in examples if len(example.ids) <= plan.context_length]
    say(f"{n_params(model):,} parameters; {len(read)} files, {len(examples):,} blocks")
    data = Conversations(examples, pack_to=plan.context_length, seed=run.seed)
    steps = {"n_steps": plan.n_steps, "rate": plan.lr}
    curve = train_stage(run, "filling", model, data, **steps, loss=batch_loss)
    run.keep("models/filling", model, tokenizer)
    n_tokens = sum(len(example.ids) for example in examples)
    return {"n_params": n_params(model), "n_tokens": n_tokens, "curve": curve}


def _compare(run: Run) -> list[dict[str, Any]]:
    if run.plan.feedback is not None:
        return of_users(run.plan.feedback, NAME)
    model, tokenizer = load_run(run.output / "models" / "filling")
    asked = places(files(run.plan, held_out=False), run.plan.n_pairs, seed=1 + run.seed)
    rows = [prompt_ids(tokenizer, place.before, place.after, room(run.plan)) for place in asked]
    options: dict[str, Any] = {"longest": LONGEST, "temperature": TEMPERATURE}
    answers = [
        list(map(first_line, write(model.to(run.device), tokenizer, rows, seed=1 + i, **options)))
        for i in (0, 1)
    ]
    prompts = [{"prompt": place.before, "suffix": place.after} for place in asked]
    tastes = [lambda text, place=place: similarity(text, place.rest) for place in asked]
    return simulated(prompts, answers, tastes, seed=run.seed, least=ALIKE)


def _learn_preferences(run: Run, compared: list[dict[str, Any]]) -> dict[str, Any]:
    model, tokenizer = load_run(run.output / "models" / "filling")

    def ids_of(prompt: dict[str, Any]) -> list[int]:
        return prompt_ids(tokenizer, prompt["prompt"], prompt.get("suffix", ""), room(run.plan))

    def fits(row: dict[str, Any]) -> bool:  # several lines of a larger model may not
        return all(len(tokenizer.encode(row[side])) < LONGEST for side in ("chosen", "rejected"))

    kept = list(filter(fits, compared))
    if not kept:
        raise ValueError(f"none of the {len(compared)} comparisons has two answers below {LONGEST} tokens")
    return learn(run, model, tokenizer, kept, ids_of)


def room(plan: Plan) -> int:
    """Tokens of a prompt, beside which a completion fits."""
    return plan.context_length - LONGEST


def prompt_ids(tokenizer: Tokenizer, before: str, after: str, room: int) -> list[int]:
    """Encode what stands on both sides of the cursor, as much as the model is shown and has room for."""
    asked, fim = Parts(before[-BEFORE:], "", after[:AFTER]), FillInTheMiddle(tokenizer)
    while len(ids := [special_id(tokenizer), *fim.encode(asked, spm=True)]) > room:
        before, _, after = asked
        asked = Parts(before[len(before) // 4 + 1 :], "", after[: len(after) * 3 // 4])
    return ids


def first_line(text: str) -> str:
    r"""Cut a completion at the end of its line: in the order of SPM nothing tells a model where it began.

    >>> first_line("x)\nreturn x")
    'x)'
    """
    return text.partition("\n")[0]


def special_id(tokenizer: Tokenizer) -> int:
    """Id that begins and ends a block."""
    return tokenizer.special_tokens[END_OF_TEXT]


# ---- measuring -------------------------------------------------------------------------------------------


def measure(folder: Path) -> dict[str, Any]:
    """Fill in lines of modules that the models have not read."""
    plan = plan_of(Plan, folder)
    asked = places(files(plan, held_out=True), N_TESTS, seed=0)
    documents = files(plan, held_out=False)
    read = "\n".join(document.text for document in documents)
    rests = Counter(place.rest.strip() for place in places(documents, N_COUNTED, seed=0))
    usual = rests.most_common(1)[0][0]
    model, tokenizer = load_run(folder / "models" / "filling")
    preferred, _ = load_run(folder / "models" / "preferred")

    def fill(one: Any, *, suffix: bool = True) -> list[str]:
        afters = [place.after if suffix else "" for place in asked]
        rows = [
            prompt_ids(tokenizer, place.before, after, room(plan))
            for place, after in zip(asked, afters, strict=True)
        ]
        texts = write(one, tokenizer, rows, longest=LONGEST, temperature=0.0, seed=0)
        return list(map(first_line, texts))

    answers = {
        "nothing": [""] * len(asked),
        "usual": [usual] * len(asked),
        "search": [copied(place.before, read) for place in asked],
        "model, no suffix": fill(model, suffix=False),
        "model": fill(model),
        "model, after comparisons": fill(preferred),
    }
    compared = {
        "over the usual": (answers["model"], answers["usual"]),
        "over the search": (answers["model"], answers["search"]),
        "by the suffix": (answers["model"], answers["model, no suffix"]),
        "by comparisons": (answers["model, after comparisons"], answers["model"]),
    }
    shown = list(zip(asked, answers["model"], strict=True))[:6]
    samples = [{"before": p.before[-80:], "written": p.rest, "filled in": text} for p, text in shown]
    return {
        "lines": {name: score(texts, asked) for name, texts in answers.items()},
        "gains": {name: gain(*texts, asked) for name, texts in compared.items()},
        "usual": usual,
        "samples": samples,
    }


def gain(texts: Sequence[str], others: Sequence[str], asked: Sequence[Place]) -> dict[str, float]:
    """Return how much nearer to what was written some completions are than others, with its interval."""
    gains = [
        similarity(text, place.rest) - similarity(other, place.rest)
        for text, other, place in zip(texts, others, asked, strict=True)
    ]
    return bootstrap_interval(gains)._asdict()


def score(texts: Sequence[str], asked: Sequence[Place]) -> dict[str, Any]:
    """Compare completions with what was written.

    Args:
        texts: One for each place.
        asked: The places.

    Returns:
        The share that is exactly right with its interval, the mean similarity, and the share of files that
        parse with the completion in the place of the line's rest.
    """
    exact = sum(text.strip() == place.rest.strip() for text, place in zip(texts, asked, strict=True))
    whole = [
        p.file[: p.at] + text + p.file[p.at + len(p.rest) :] for text, p in zip(texts, asked, strict=True)
    ]
    return {
        "exact": wilson_interval(exact, len(asked))._asdict(),
        "similarity": fmean(similarity(text, p.rest) for text, p in zip(texts, asked, strict=True)),
        "parses": fmean(map(_parses, whole)),
    }


def similarity(a: str, b: str) -> float:
    """Return 1 less the edit distance of two lines as a share of the longer one.

    >>> similarity("kitten", "sitting")  # three edits, of seven characters
    0.5714285714285714
    >>> similarity(" x ", "x"), similarity("", "")
    (1.0, 1.0)
    """
    a, b = a.strip(), b.strip()
    return 1 - edit_distance(a, b) / max(len(a), len(b), 1)


def copied(before: str, read: str) -> str:
    r"""Copy the rest of a line from where the longest end of a text stands in another, the last such place.

    >>> copied("y = f(", "x = f(1)\nz = f(2)\n")
    '2)'
    """
    low, high = 0, len(before)  # characters of the end that are found, and that may be
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[len(before) - middle :] in read else (low, middle - 1)
    if not low:
        return ""
    start = read.rfind(before[len(before) - low :]) + low
    end = read.find("\n", start)
    return read[start:end] if end >= 0 else read[start:]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
