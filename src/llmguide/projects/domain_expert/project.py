r"""Project: a domain expert, from synthetic data to a benchmark that tells knowing, guessing and making up.

The domain is Python's standard library. A small base reads about some of its names, and general text. It is
then tuned on questions made from these facts, together with questions about names that it never read about,
which it is to say it does not know, and questions about something else, which it is to turn down; meanwhile
it reads on. Three trainings with the same number of draws: in random order; easy questions first; and in
random order without anything to turn down. The benchmark asks for facts in new words, for facts that were
read and never asked for, for names that nobody told it about, for names that do not exist, and for other
things.

References: Allen-Zhu & Li 2023, arXiv:2309.14316 (what was read and can be asked for); Zhang et al. 2023,
arXiv:2311.09677, and Kang et al. 2024, arXiv:2403.05612 (examples that say "I do not know"); Platanios et al.
2019, arXiv:1903.09848 (curriculum).

Leaves out: retrieval, which is how an expert is kept up to date.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from platform import python_version_tuple
from typing import Any

import torch

from llmguide.data.corpora import Split, default_corpus, passages
from llmguide.data.tokens.token_files import END_OF_TEXT
from llmguide.data.tokens.windows import Windows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.files import write_text
from llmguide.models import build
from llmguide.models.saved import write_tensors
from llmguide.post_training.chat import END, START, Message, Rendered, chatml
from llmguide.post_training.datasets import json_lines
from llmguide.projects.answers import log_likelihoods, write
from llmguide.projects.curriculum import InOrder, paced
from llmguide.projects.domain_expert.dataset import Curated, conversations, curated, write_questions
from llmguide.projects.domain_expert.facts import Fact
from llmguide.projects.domain_expert.metrics import difference, frequent, guesses, shown, summary
from llmguide.projects.domain_expert.templates import (
    KNOWN,
    NOT_HERE,
    NOT_KNOWN,
    OUTSIDE,
    UNKNOWN,
    Pair,
    benchmark,
    card,
)
from llmguide.projects.mixture import mixed
from llmguide.projects.run import Criterion, Run, plan_of, require_finished, small_decoder, thinned
from llmguide.runs.folder import load_run, n_params, say
from llmguide.runs.post_training import Chat, Origin, kept, loggers, open_chat, resumable
from llmguide.tokenization.tokenizer import Tokenizer
from llmguide.training.config import TrainConfig
from llmguide.training.losses import batch_loss
from llmguide.training.train import train

NAME = "domain-expert"
CONVERSATIONS = "conversations.jsonl"  # of a run, for llmguide sft too
SHUFFLED, CURRICULUM, OPEN = "random order", "easy first", "nothing turned down"
ARMS = (SHUFFLED, CURRICULUM, OPEN)
SHARES = {"known": 0.45, "unknown": 0.38, "other topics": 0.09, "other languages": 0.08}  # of conversations
FIRST = 0.2  # of the conversations, the easiest, that a curriculum begins with
N_TEST = 40  # questions of each kind about each relation
ANSWER = 28  # tokens at most
READINGS = 40  # cards about each name; more are the same ones again
REREAD = 40  # tokens of what the base has read, in each window of it that the tuning goes on to read
GENERAL = 0.2  # of the characters that a base reads
N_GENERAL = 20_000  # characters of held-out general text
TASK = (  # of a model that was not tuned
    "Answer a question about Python's standard library with one name, and nothing else. The kinds are "
    f"function, class and exception. If you do not know the name, say: {UNKNOWN} If it is about something "
    f"else, say: {OUTSIDE}\n\n"
)
FREQUENT = "the most frequent answer"
REFUSED, ADMITTED, TAKEN = 0.8, 0.7, 0.3  # bars, of what is turned down


@dataclass(frozen=True)
class Plan:
    """Choices; the defaults take minutes on two cores."""

    base: str | None = None  # a run folder, one of transformers, or a hub name; None: train a small one first
    general: str | None = None  # another model, asked the benchmark as it is, to compare with
    writer: str | None = None  # a model at OPENAI_BASE_URL that writes questions, too
    n_written: int = 500  # questions that it writes
    n_names: int = 300  # of the library; the others are said to be unknown
    vocab_size: int = 2048  # of the tokenizer of a new base
    n_layers: int = 3  # its blocks
    d_model: int = 128  # its width
    n_heads: int = 4  # its attention heads
    context_length: int = 64  # tokens of a window of a new base, and of a conversation
    base_steps: int = 400  # updates of a new base
    n_steps: int = 300  # updates of each tuning
    batch_size: int = 16  # conversations of an update, and half the windows of a new base's
    n_windows: int = 8  # of what a new base reads, in each update of the tuning, too
    base_rate: float = 3e-3  # peak of the learning rate of a new base
    rate: float = 4e-4  # of the tuning, of all weights; a large one unlearns what is not read again


def project(*, plan: Plan = Plan(), seed: int = 0, output: Path = Path("runs") / NAME) -> None:
    """Make an expert on Python's standard library, and find out what it knows and what it makes up.

    Args:
        plan: Base, data and training.
        seed: Of weights, draws and order.
        output: Folder of the run; the same command goes on where it stopped.
    """
    run = Run(NAME, plan, seed, output)
    data = run.stage("data", lambda: _data(run))
    if plan.base is None:
        run.stage("base", lambda: _train_base(run))
    curves = {arm: run.stage(arm.replace(" ", "-"), partial(_tune, run, arm)) for arm in ARMS}
    tests = run.stage("tests", lambda: measure(output))
    for name, found in tests["systems"].items():
        say(f"{name:26} " + ", ".join(f"{kind} {one['score']:.0%}" for kind, one in found["right"].items()))
    general = run.stage("general", lambda: {arm: _general(output, arm) for arm in ("", *ARMS)})
    counts = {name: data[name] for name in ("facts", "written", "conversations")}
    run.finish({"counts": counts, "tests": tests, "general": general}, curves)


def check(folder: Path) -> list[Criterion]:
    """Ask the tuned model of a run the benchmark anew."""
    require_finished(NAME, folder)
    found = measure(folder, arms=(SHUFFLED,))["systems"]
    judged, bar = found[SHUFFLED], found[FREQUENT]["right"]
    criteria = []
    for kind in KNOWN:
        low, wanted = judged["right"][kind]["low"], bar[kind]["score"]
        what = f"right, {kind}, lower end of the interval"
        criteria.append(Criterion(what, low, f"above the most frequent answers, {wanted:.3f}", low > wanted))
    for kinds, what, wanted in (
        (NOT_HERE, "turned down what is outside", REFUSED),
        (NOT_KNOWN, "turned down what it cannot know", ADMITTED),
    ):
        low = min(judged["turned down"][kind]["low"] for kind in kinds)
        criteria.append(Criterion(f"{what}, lowest lower end", low, f"above {wanted}", low > wanted))
    high = max(judged["turned down"][kind]["high"] for kind in KNOWN)
    criteria.append(
        Criterion("turned down what it could know, highest upper end", high, f"below {TAKEN}", high < TAKEN)
    )
    return criteria


def measure(folder: Path, arms: Sequence[str] = ARMS) -> dict[str, Any]:
    """Ask the tuned models, and what they are compared with, the benchmark.

    Raises:
        ValueError: The run was made with another version of Python, whose library is another.
    """
    plan = plan_of(Plan, folder)
    _require_version(folder)
    found = _facts(plan.n_names)
    asked = benchmark(found.known, found.unread, N_TEST)
    said = {FREQUENT: frequent(found, asked)}
    for arm in arms:
        said[arm] = _answers(open_arm(folder, plan, arm), asked)
    if plan.general is not None and len(arms) > 1:
        said[plan.general] = _answers(open_chat(Origin(model=plan.general), [], seed=0), asked, TASK)
    result: dict[str, Any] = {"systems": {name: summary(asked, texts) for name, texts in said.items()}}
    if OPEN in arms:
        result |= {
            "guesses": guesses(asked, said[OPEN]),
            "easy first minus random order": difference(asked, said[CURRICULUM], said[SHUFFLED]),
            "shown": shown(asked, said[SHUFFLED], said[OPEN]),
        }
    return result


def open_arm(folder: Path, plan: Plan, arm: str) -> Chat:
    """Open a tuned model; no arm: the base."""
    chat = open_base(folder, plan)
    if arm:
        state = import_module("safetensors.torch").load_file(folder / "models" / f"{arm}.safetensors")
        chat.model.load_state_dict(state)
    chat.model.eval()
    return chat


def open_base(folder: Path, plan: Plan) -> Chat:
    """Open the model to start from."""
    if plan.base is not None:
        return open_chat(Origin(model=plan.base), [], seed=0)
    model, tokenizer = load_run(folder / "base")
    return Chat(model, tokenizer, chatml, tokenizer.special_tokens[END])


@cache
def _facts(n_names: int) -> Curated:
    return curated(n_names)


def _require_version(folder: Path) -> None:
    path = folder / "stages" / "data.json"
    made_with = json.loads(path.read_text(encoding="utf-8"))["found"]["python"]
    here = ".".join(python_version_tuple()[:2])
    if made_with != here:
        raise ValueError(
            f"the run in {folder} is about the library of Python {made_with}, and this is {here}; check it "
            "with the Python that made it"
        )


def _data(run: Run) -> dict[str, Any]:
    plan, found = run.plan, _facts(run.plan.n_names)
    written: list[Pair] = []
    counts: dict[str, int] = {}
    if plan.writer is not None:
        folder = run.output / "written"
        written, counts = write_questions(found, plan.writer, plan.n_written, folder)
    test = benchmark(found.known, found.unread, N_TEST)
    pairs, kinds = conversations(found, written, test)
    say(f"{sum(map(len, pairs.values())):,} conversations; the benchmark asks {len(test):,} questions")
    rows = [
        {
            "prompt": pair.question,
            "completion": pair.answer,
            "side": side,
            "about": pair.about,
            "name": pair.name,
        }
        for side, some in pairs.items()
        for pair in some
    ]
    path = run.output / CONVERSATIONS
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    return {
        "python": ".".join(python_version_tuple()[:2]),
        "facts": found.counts,
        "written": counts,
        "conversations": kinds | {"benchmark": len(test)},
    }


def _pairs(folder: Path) -> dict[str, list[Pair]]:
    """Read the conversations of a run, by what they are to teach."""
    found: dict[str, list[Pair]] = {}
    for _, row in json_lines(folder / CONVERSATIONS):
        pair = Pair(row["side"], row["about"], row["name"], row["prompt"], row["completion"])
        found.setdefault(row["side"], []).append(pair)
    return found


def _tune(run: Run, arm: str) -> dict[str, list[float]]:
    plan = run.plan
    chat = open_base(run.output, plan)
    examples = [example for _, example in _course(chat, plan, _pairs(run.output), arm, run.seed)]
    n_windows = 0 if plan.base else plan.n_windows
    if n_windows:
        examples = _with_windows(examples, _base_ids(plan, chat.tokenizer, run.seed), plan, run.seed)
    torch.manual_seed(run.seed)
    model: Any = chat.model.to(run.device)
    settings = TrainConfig(
        n_steps=plan.n_steps,
        context_length=plan.context_length,
        batch_size=plan.batch_size + n_windows,
        lr=plan.rate,
        weight_decay=0.0,
        log_every=max(1, plan.n_steps // 10),
        checkpoint_every=max(1, plan.n_steps // 5),
        seed=run.seed,
    )
    with resumable(run.output):
        result = train(
            model,
            InOrder(examples),
            settings,
            folder=run.output / "checkpoints" / arm,
            loss=batch_loss,
            logger=loggers(run.output / "logs" / arm),
        )
    place = run.output / "models" / f"{arm}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(place, {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()})
    curve = thinned(result.history)
    return {name: curve[name][1::2] for name in ("step", "loss")}


def _course(
    chat: Chat, plan: Plan, pairs: dict[str, list[Pair]], arm: str, seed: int
) -> list[tuple[Pair, Rendered]]:
    """Draw the conversations of a training, in its order; the base says which are easy."""
    shares = {"known": 1.0} if arm == OPEN else SHARES
    n, length = plan.n_steps * plan.batch_size, plan.context_length + 1
    pool = mixed({kind: pairs[kind] for kind in shares}, shares, n, seed)
    written = {pair: chat.rendered(_talk(pair), length) for pair in dict.fromkeys(pool)}
    kept(list(written.values()), "conversations", length)
    fitting = {pair: example for pair, example in written.items() if example is not None}
    pool = [pair for pair in pool if pair in fitting]
    if arm == CURRICULUM:
        easy = dict(zip(fitting, log_likelihoods(chat, list(fitting.values())), strict=True))
        pool.sort(key=lambda pair: -easy[pair])
    drawn = paced(pool, n, seed=seed, start=FIRST if arm == CURRICULUM else 1.0)
    return [(pair, fitting[pair]) for pair in drawn]


def _with_windows(talks: Sequence[Rendered], read: torch.Tensor, plan: Plan, seed: int) -> list[Rendered]:
    """Add to the conversations of each update windows of what the base has read, to be learned as a whole."""
    windows, examples = Windows(read, REREAD, seed=seed), list[Rendered]()
    for step in range(plan.n_steps):
        examples += talks[step * plan.batch_size : (step + 1) * plan.batch_size]
        inputs, targets, _ = windows.batch(step * plan.n_windows, plan.n_windows)
        for ids in torch.cat([inputs, targets[:, -1:]], 1).tolist():
            examples.append(Rendered(ids, [True] * len(ids)))
    return examples


def _talk(pair: Pair) -> list[Message]:
    return [{"role": "user", "content": pair.question}, {"role": "assistant", "content": pair.answer}]


def _train_base(run: Run) -> dict[str, int]:
    plan = run.plan
    texts = _base_texts(_facts(plan.n_names), run.seed)[:3000]
    tokenizer = Tokenizer.train(texts, plan.vocab_size, special_tokens=[END_OF_TEXT, START, END])
    torch.manual_seed(run.seed)
    sizes = {"n_layers": plan.n_layers, "d_model": plan.d_model, "n_heads": plan.n_heads}
    model: Any = build(small_decoder(tokenizer.vocab_size, plan.context_length, **sizes)).to(run.device)
    ids = _base_ids(plan, tokenizer, run.seed)
    say(f"base: {n_params(model):,} parameters, {len(ids):,} tokens")
    settings = TrainConfig(
        n_steps=plan.base_steps,
        context_length=plan.context_length,
        batch_size=2 * plan.batch_size,
        lr=plan.base_rate,
        optimizer="muon",
        log_every=max(1, plan.base_steps // 10),
        checkpoint_every=max(1, plan.base_steps // 10),
        seed=run.seed,
    )
    windows = Windows(ids, plan.context_length, seed=run.seed)
    with resumable(run.output):
        folder = run.output / "checkpoints" / "base"
        train(model, windows, settings, folder=folder, logger=loggers(run.output / "logs" / "base"))
    run.keep("base", model, tokenizer)
    return {"n_params": n_params(model), "n_tokens": len(ids)}


def _base_ids(plan: Plan, tokenizer: Tokenizer, seed: int) -> torch.Tensor:
    end = tokenizer.special_tokens[END_OF_TEXT]
    texts = _base_texts(_facts(plan.n_names), seed)
    return torch.tensor([i for text in texts for i in (*tokenizer.encode(text), end)])


def _base_texts(found: Curated, seed: int) -> list[str]:
    """Write what a base reads: cards about names, again and again in other words, and general text."""
    draw, by_name = random.Random(seed), dict[str, list[Fact]]()
    for fact in found.known:
        by_name.setdefault(fact.name, []).append(fact)
    texts = [card(told, draw) for told in by_name.values() for _ in range(READINGS)]
    budget = GENERAL / (1 - GENERAL) * sum(map(len, texts))
    for text in _general_texts("train"):
        if budget < 0:
            break
        texts.append(text)
        budget -= len(text)
    draw.shuffle(texts)
    return texts


def _general_texts(side: Split) -> list[str]:
    """Return passages of speeches, or of the library's text where these are not installed."""
    documents = list(default_corpus().part(side))
    random.Random(0).shuffle(documents)
    return [part.text for document in documents for part in passages(document, 1000)]


def _general(folder: Path, arm: str) -> float:
    """Measure a model on held-out general text, in bits per byte."""
    chat = open_arm(folder, plan_of(Plan, folder), arm)
    texts, size = [], 0
    for text in _general_texts("validation"):
        if size > N_GENERAL:
            break
        texts.append(text)
        size += len(text)
    return bits_per_byte(chat.model, chat.tokenizer, texts, bos_id=chat.end_id)


def _answers(chat: Chat, asked: Sequence[Pair], task: str = "") -> list[str]:
    """Answer questions; a model that was not tuned is told the task with each."""
    prompts = [[{"role": "user", "content": f"{task}{pair.question}"}] for pair in asked]
    return write(chat, [chat.prompt(prompt) for prompt in prompts], ANSWER)
