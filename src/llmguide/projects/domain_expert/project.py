r"""Project: a domain expert, from synthetic data to a benchmark of knowledge, guessing and hallucination.

The domain is Python's standard library. A small base is pre-trained on facts about some of its names, and on
general text. It is then fine-tuned on questions made from these facts; on questions about names that were not
in its training data, where the right answer is to abstain; and on off-topic questions, which it has to
refuse. Meanwhile the base's text is replayed. Three conditions with the same number of conversations: in
random order; easy questions first; and in random order without any refusals. The benchmark asks for facts in
paraphrases, for facts of the pre-training that were never asked for, for names that are not in the training
data, for names that do not exist, and off topic.

A pretrained ``base`` reads the facts while it is fine-tuned, in the windows that a new base has replayed.
With ``lora_rank``, adapters in its upper half are trained. A ``general`` model that was not fine-tuned
answers the same questions, after an example of each kind.

References: Allen-Zhu & Li 2023, arXiv:2309.14316 (which facts of the pre-training can be asked for); Zhang et
al. 2023, arXiv:2311.09677, and Kang et al. 2024, arXiv:2403.05612 (examples that say "I do not know");
Platanios et al. 2019, arXiv:1903.09848 (curriculum).

Leaves out: retrieval, which is how an expert is kept up to date.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from platform import python_version_tuple
from typing import Any

import torch

from llmguide.data.rows import read_rows
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.files import write_text
from llmguide.post_training.adapters.lora import adapter_state
from llmguide.post_training.chat import END, Message, chatml
from llmguide.projects.acceptance import Criterion, above, below
from llmguide.projects.curriculum import InOrder
from llmguide.projects.domain_expert.base import Plan, base_ids, curated_facts, general_texts, train_base
from llmguide.projects.domain_expert.benchmark import benchmark
from llmguide.projects.domain_expert.course import (
    CURRICULUM,
    NO_REFUSAL,
    RANDOM_ORDER,
    conditions,
    conversation,
    course,
    with_replay,
)
from llmguide.projects.domain_expert.dataset import Curated, conversations, write_questions
from llmguide.projects.domain_expert.metrics import difference, frequent, guesses, shown, summary
from llmguide.projects.domain_expert.off_topic import off_topic
from llmguide.projects.domain_expert.templates import (
    BOTH,
    KNOWN,
    NEVER_ASKED,
    NEW_WORDS,
    NOT_HERE,
    NOT_KNOWN,
    QUESTIONS,
    Pair,
    ask,
    ask_unknown,
    side_of,
)
from llmguide.projects.generation import respond
from llmguide.projects.pretrained import ADAPTER_TRAINING, adapt, as_tokenizer, separator
from llmguide.projects.run import Run, load_weights, plan_of
from llmguide.projects.training import loss_curve, stage_config, train_stage
from llmguide.runs.chat_model import Chat, open_chat
from llmguide.runs.folder import load_run, say
from llmguide.runs.options import ModelSource
from llmguide.training.losses import batch_loss

CONVERSATIONS = "conversations.jsonl"  # conversations of a run, in the format of llmguide sft
MAX_NEW_TOKENS = 28  # most tokens of an answer
N_GENERAL = 20_000  # characters of held-out general text
FREQUENT = "the most frequent answer"
TITLES = {
    NEW_WORDS: "paraphrases of questions in SFT",
    NEVER_ASKED: "facts seen in pre-training only",
    BOTH: "paraphrases about facts seen in pre-training only",
}
MIN_REFUSAL, MIN_ABSTENTION, MAX_OVER_REFUSAL = 0.8, 0.7, 0.3  # thresholds


def project(run: Run) -> None:
    """Make an expert on Python's standard library, and measure what it knows and what it hallucinates."""
    data = run.stage("data", lambda: _data(run))
    if run.plan.base is None:
        run.stage("base", lambda: train_base(run))
    trained = conditions(run.plan)
    curves = {name: run.stage(name.replace(" ", "-"), partial(_fine_tune, run, name)) for name in trained}
    tests = run.stage("tests", lambda: measure(run.output))
    for name, scores in tests["systems"].items():
        say(f"{name:26} " + ", ".join(f"{kind} {of['score']:.0%}" for kind, of in scores["right"].items()))
    general = run.stage("general", lambda: {name: _general(run.output, name) for name in ("", *trained)})
    counts = {name: data[name] for name in ("facts", "written", "conversations")}
    run.finish({"counts": counts, "tests": tests, "general": general}, curves)


def check(folder: Path) -> list[Criterion]:
    """Let the fine-tuned model of a run answer the benchmark again."""
    systems = measure(folder, RANDOM_ORDER)["systems"]
    return criteria_of(systems[RANDOM_ORDER], systems[FREQUENT]["right"])


def criteria_of(expert: dict[str, Any], baseline: dict[str, Any]) -> list[Criterion]:
    """Require right answers, refusals off topic, abstention, and few over-refusals."""
    criteria = [
        above(
            f"accuracy on {title}, lower bound",
            expert["right"][kind]["low"],
            baseline[kind]["score"],
            FREQUENT,
        )
        for kind, title in TITLES.items()
    ]
    for kinds, what, threshold in (
        (NOT_HERE, "refusal rate on off-topic questions", MIN_REFUSAL),
        (NOT_KNOWN, "abstention rate on unanswerable questions", MIN_ABSTENTION),
    ):
        low = min(expert["turned down"][kind]["low"] for kind in kinds)
        criteria.append(above(f"{what}, lowest lower bound", low, threshold))
    high = max(expert["turned down"][kind]["high"] for kind in KNOWN)
    return [*criteria, below("over-refusal rate, highest upper bound", high, MAX_OVER_REFUSAL)]


def measure(folder: Path, condition: str | None = None) -> dict[str, Any]:
    """Let the fine-tuned models, and what they are compared with, answer the benchmark.

    Args:
        folder: Run folder.
        condition: Fine-tuned model to ask in place of all of them and the general model.

    Raises:
        ValueError: The run was made with another version of Python, whose library is another.
    """
    plan = plan_of(Plan, folder)
    require_version(folder)
    facts = curated_facts(plan.n_names)
    asked = benchmark(facts.known, facts.unread, plan.n_test)
    answers = {FREQUENT: frequent(facts, asked)}
    for name in conditions(plan) if condition is None else [condition]:
        answers[name] = answer_all(open_condition(folder, plan, name), asked)
    if plan.general is not None and condition is None:
        general = open_chat(ModelSource(model=plan.general), [], seed=0)
        answers[plan.general] = answer_all(general, asked, examples(facts))
    result: dict[str, Any] = {"systems": {name: summary(asked, texts) for name, texts in answers.items()}}
    if NO_REFUSAL in answers:
        result["easy first minus random order"] = difference(
            asked, answers[CURRICULUM], answers[RANDOM_ORDER]
        )
    if plan.general in answers:
        for baseline in (FREQUENT, plan.general):
            gap = difference(asked, answers[RANDOM_ORDER], answers[baseline])
            result[f"{RANDOM_ORDER} minus {baseline}"] = gap
    if other := next((name for name in (NO_REFUSAL, plan.general) if name in answers), None):
        result["guesses"] = guesses(asked, answers[other])
        result["shown"] = shown(asked, answers[RANDOM_ORDER], answers[other])
    return result


def open_condition(folder: Path, plan: Plan, condition: str) -> Chat:
    """Open a fine-tuned model; with an empty name, the base."""
    chat = open_base(folder, plan)
    if condition:
        if plan.lora_rank:
            adapt(chat.model, plan.lora_rank)
        chat.model.load_state_dict(load_weights(folder, condition), strict=not plan.lora_rank)
    chat.model.eval()
    return chat


def open_base(folder: Path, plan: Plan) -> Chat:
    """Open the base model."""
    if plan.base is not None:
        return open_chat(ModelSource(model=plan.base), [], seed=0)
    model, tokenizer = load_run(folder / "base")
    return Chat(model, tokenizer, chatml, tokenizer.special_tokens[END])


def examples(facts: Curated) -> list[Message]:
    """Write questions with their answers, the earlier turns for a model that was not fine-tuned."""
    known = {fact.relation: fact for fact in facts.known if side_of(fact.name) == "asked"}
    pairs = [
        ask_unknown(facts.unknown[0], QUESTIONS["package"][1], ""),
        next(off_topic([], test=False)),
        *(ask(fact, QUESTIONS[relation][0]) for relation, fact in known.items()),
    ]
    return [message for pair in pairs for message in conversation(pair)]


def require_version(folder: Path) -> None:
    """Raise ValueError if a run was made with another version of Python, whose library is another."""
    path = folder / "stages" / "data.json"
    made_with = json.loads(path.read_text(encoding="utf-8"))["found"]["python"]
    here = ".".join(python_version_tuple()[:2])
    if made_with != here:
        raise ValueError(
            f"the run in {folder} is about the library of Python {made_with}, but this is {here}; check it "
            "with the Python that made it"
        )


def _data(run: Run) -> dict[str, Any]:
    plan, facts = run.plan, curated_facts(run.plan.n_names)
    written: list[Pair] = []
    counts: dict[str, int] = {}
    if plan.writer is not None:
        written, counts = write_questions(facts, plan.writer, plan.n_written, run.output / "written")
    test = benchmark(facts.known, facts.unread, plan.n_test)
    pairs, kinds = conversations(facts, written, test)
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
    write_text(run.output / CONVERSATIONS, "".join(f"{json.dumps(row)}\n" for row in rows))
    return {
        "python": ".".join(python_version_tuple()[:2]),
        "facts": facts.counts,
        "written": counts,
        "conversations": kinds | {"benchmark": len(test)},
    }


def read_pairs(folder: Path) -> dict[str, list[Pair]]:
    """Read the conversations of a run, by the behavior that they teach."""
    pairs: dict[str, list[Pair]] = {}
    for _, row in read_rows(folder / CONVERSATIONS):
        pair = Pair(row["side"], row["about"], row["name"], row["prompt"], row["completion"])
        pairs.setdefault(row["side"], []).append(pair)
    return pairs


def _fine_tune(run: Run, condition: str) -> dict[str, list[float]]:
    plan = run.plan
    chat = open_base(run.output, plan)
    examples = [example for _, example in course(chat, plan, read_pairs(run.output), condition, run.seed)]
    if plan.n_windows:
        examples = with_replay(examples, base_ids(plan, chat.tokenizer, run.seed), plan, run.seed)
    torch.manual_seed(run.seed)
    if plan.lora_rank:
        adapt(chat.model, plan.lora_rank)
    config = stage_config(
        run,
        plan.n_steps,
        plan.rate,
        batch_size=plan.batch_size + plan.n_windows,
        **ADAPTER_TRAINING,
    )
    result = train_stage(run, condition, chat.model, InOrder(examples), config, loss=batch_loss)
    run.save_weights(condition, adapter_state(chat.model) if plan.lora_rank else chat.model.state_dict())
    curve = loss_curve(result.history)
    return {name: curve[name][1::2] for name in ("step", "loss")}


def _general(folder: Path, condition: str) -> float:
    """Measure a model on held-out general text, in bits per byte."""
    chat = open_condition(folder, plan_of(Plan, folder), condition)
    texts, size = [], 0
    for text in general_texts("validation"):
        if size > N_GENERAL:
            break
        texts.append(text)
        size += len(text)
    return bits_per_byte(chat.model, chat.tokenizer, texts, bos_id=separator(as_tokenizer(chat.tokenizer)))


def answer_all(chat: Chat, asked: Sequence[Pair], before: Sequence[Message] = ()) -> list[str]:
    """Answer questions, each after the same turns of a chat."""
    prompts = [chat.prompt([*before, {"role": "user", "content": pair.question}]) for pair in asked]
    return respond(chat, prompts, MAX_NEW_TOKENS)
