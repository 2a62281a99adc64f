"""What each check measures: a model that does what the assignment asks passes, and a simpler one fails."""

import random
from math import log

import pytest
import torch
from tests.seed import SEED

from llmguide.post_training.datasets import TextPair
from llmguide.projects.assignments import (
    assignment_of,
    constitutional_ai,
    continued_pretraining,
    domain_expert,
    fine_tuning,
    reward_model,
    rlhf,
    small_lm,
)
from llmguide.projects.constitutional_ai.prompts import REFUSAL
from llmguide.projects.domain_expert.dataset import Curated
from llmguide.projects.domain_expert.facts import RELATIONS, Fact
from llmguide.projects.domain_expert.templates import (
    KNOWN,
    NOT_HERE,
    NOT_KNOWN,
    OUTSIDE,
    QUESTIONS,
    UNKNOWN,
    Pair,
    ask_unknown,
)
from llmguide.projects.domain_expert.templates import ask as ask_fact
from llmguide.projects.fine_tuning.data import Example
from llmguide.projects.instruction_tuning import data as instruction_data
from llmguide.projects.instruction_tuning.data import ask, items, reply
from llmguide.projects.instruction_tuning.evaluation import held_out_prompts
from llmguide.projects.instruction_tuning.models import Plan as InstructionPlan
from llmguide.projects.learner_model import Model


def failed(project, model, base=None):
    """Names of the measures that do not pass."""
    return [c.measure for c in assignment_of(project).check(model, base) if not c.passed]


def generates(function):
    return Model("a test", {"generate": function})


def bits_per_character(bits):
    """A model that needs a number of bits for each character, whatever precedes it."""
    return Model("a test", {"logprob": lambda _, completion: -log(2) * sum(map(bits, completion))})


def test_continued_pretraining_has_to_beat_its_base_and_counting(monkeypatch):
    monkeypatch.setattr(continued_pretraining, "domain", lambda _: "code ")
    monkeypatch.setattr(continued_pretraining, "general", lambda _: "talk\n")
    monkeypatch.setattr(continued_pretraining, "texts", lambda corpus, *_: [corpus * 300])
    counted = lambda _, held_out: (0, [torch.full((len(text),), 9.0) for text in held_out])  # noqa: E731
    monkeypatch.setattr(continued_pretraining, "best_ngram_bits", counted)

    def of(domain, general):
        return bits_per_character(lambda character: domain if character in "code " else general)

    over_base, over_ngram, balance = (
        "bits per byte of the domain minus the base's, upper bound",
        "the same minus the best n-gram model's, upper bound",
        "bits per byte gained on the domain, minus those lost on general text",
    )
    base = of(8, 4)
    assert failed("continued-pretraining", of(7.7, 4), base) == []  # 3.8% less, as with SmolLM2
    assert failed("continued-pretraining", of(7.7, 4.5), base) == [balance]
    assert failed("continued-pretraining", of(8, 3.9), base) == [over_base]
    assert failed("continued-pretraining", of(10, 4), of(12, 4)) == [over_ngram]
    for pair in ((of(0.1, 4), base), (base, of(0.1, 4))):
        with pytest.raises(ValueError, match="probabilities never sum to more than 1"):
            failed("continued-pretraining", *pair)
    with pytest.raises(ValueError, match="give it as --base"):
        failed("continued-pretraining", base)


def test_lora_has_to_beat_counting_and_must_not_be_far_behind_full_fine_tuning(monkeypatch):
    ages = [("thou", "old"), ("radio", "new")]
    every = [Example(f"{i}", f"{i} {word}", age) for i in range(200) for word, age in ages]
    monkeypatch.setattr(fine_tuning, "sentences", lambda: every)

    def right_unless(digit):
        def generate(prompt):
            is_old = "thou" in prompt
            return " new" if is_old == (digit in prompt.split()[1]) else " old"

        return generates(generate)

    full, lora = right_unless("none"), right_unless("7")  # LoRA is wrong on about a fifth of the speeches
    assert failed("fine-tuning", full, full) == []
    assert failed("fine-tuning", lora, lora) == []
    assert failed("fine-tuning", lora, full) == ["LoRA minus full fine-tuning, lower bound"]
    assert failed("fine-tuning", generates(lambda _: "old"), generates(lambda _: "old")) == [
        "accuracy on held-out speeches, lower bound"
    ]


def test_a_small_lm_has_to_beat_counting(monkeypatch):
    draw = random.Random(SEED)
    sides = {side: "".join(draw.choices("abcd", k=4000)) for side in ("train", "validation")}
    monkeypatch.setattr(small_lm, "texts_of", lambda _, side, n: [sides[side][:n]])
    assert failed("small-lm", bits_per_character(lambda _: 2.0)) == []  # the entropy of the text
    assert failed("small-lm", bits_per_character(lambda _: 2.5)) == ["bits per held-out byte"]

    def text_of(ids):
        return bytes(ids).decode()

    def of(decode, predicted, encode=lambda text: list(text.encode())):
        functions = {"encode": encode, "decode": decode, "predicted_bits_per_byte": lambda: predicted}
        return Model("a test", bits_per_character(lambda _: 2.0).functions | functions)

    assert failed("small-lm", of(text_of, 2.05)) == []
    assert failed("small-lm", of(lambda ids: text_of(ids).replace("d", "?"), 2.1)) == [
        "texts that the tokenizer does not give back",
        "relative error of the extrapolated loss",
    ]
    ascii_only = of(text_of, 2.0, lambda text: list(text.encode("ascii", "replace")))
    assert failed("small-lm", ascii_only) == ["texts that the tokenizer does not give back"]
    for encode in (str, list, tuple):
        with pytest.raises(ValueError, match="must return a list of int"):
            failed("small-lm", of("".join, 2.0, encode))
    for bits in (0.0, 0.1):
        with pytest.raises(ValueError, match="probabilities never sum to more than 1"):
            failed("small-lm", bits_per_character(lambda _, bits=bits: bits))


def test_a_reward_model_has_to_rank_texts_of_each_kind(monkeypatch):
    def pairs(name):
        return [TextPair([], f"{name} {i}", f"{name} -{i}", (f"{i}", f"-{i}")) for i in range(1, 200)]

    monkeypatch.setattr(
        reward_model, "held_out_pairs", lambda _: {name: pairs(name) for name in ("films", "tweets")}
    )

    def of(*known):
        return Model(
            "a test", {"reward": lambda _, text: int(text.split()[1]) if text.split()[0] in known else 0}
        )

    assert failed("reward-model", of("films", "tweets")) == []
    assert failed("reward-model", of("films")) == ["accuracy on tweets, lower bound"]
    assert failed("reward-model", Model("a test", {"reward": lambda _, text: len(text)})) == [
        "accuracy on films, lower bound",
        "accuracy on tweets, lower bound",
    ]


def test_a_policy_has_to_please_the_raters_in_many_ways(monkeypatch, capsys):
    prompts = [f"Film {i}" for i in range(200)]
    held_out = [TextPair([], f"good {i}", f"bad {i}", (f"{i}", f"-{i}")) for i in range(200)]
    monkeypatch.setattr(
        rlhf, "splits", lambda *_, **__: type("Splits", (), {"prompts": prompts, "held_out": held_out})
    )
    rate = {"words": lambda texts: [text.count("good") for text in texts]}
    monkeypatch.setattr(rlhf, "raters_of_words", lambda *_, **__: rate)

    def logprob(_, completion):
        return -4 * len(completion) - 6 * completion.count("z")

    base = Model("a test", {"generate": lambda prompt: f" is {prompt} fair", "logprob": logprob})
    good = generates(lambda prompt: f" is {prompt} good")
    assert failed("rlhf", good, base) == []
    assert "warning" not in capsys.readouterr().out
    failed("rlhf", generates(lambda prompt: f" {prompt}"), base)
    assert "warning: the completions are much shorter" in capsys.readouterr().out
    assert failed("rlhf", generates(lambda prompt: f" is {prompt} good zzzz"), base) == [
        "NLL per character under the SFT policy, relative to its own completions"
    ]
    for reward, wanted in (
        (lambda text: -len(text), ["accuracy of the reward model, lower bound"]),
        (lambda text: "good" in text, []),
    ):
        rewards = {"reward": lambda _, text, reward=reward: reward(text)}
        assert failed("rlhf", Model("a test", good.functions | rewards), base) == wanted
    assert failed("rlhf", base, base) == ["win rate by the bag-of-words model, lower bound"]
    assert failed("rlhf", generates(lambda _: " is good good"), base) == [
        "distinct-2, as a fraction of the SFT policy's"
    ]
    with pytest.raises(ValueError, match="probabilities never sum to more than 1"):
        failed("rlhf", good, Model("a test", base.functions | {"logprob": lambda *_: 0.0}))
    monkeypatch.setattr(rlhf, "distinct_2", lambda texts: 0.4 if "good" in texts[0] else 0.8)
    assert failed("rlhf", generates(lambda _: " is good"), base) == []  # at least half, as in the project


@pytest.fixture
def types(monkeypatch):
    """Only the types of instructions that need no corpus."""
    monkeypatch.setattr(instruction_data, "_real", lambda _: iter(()))
    items.cache_clear()
    yield
    items.cache_clear()


def test_instructions_have_to_be_followed_on_every_kind_of_prompt(types, capsys):
    replies = {ask(*prompt): reply(prompt.item) for prompt in held_out_prompts(InstructionPlan())}
    assert failed("instruction-tuning", generates(replies.__getitem__)) == []
    assert "all tasks" in capsys.readouterr().out
    assert len(failed("instruction-tuning", generates(lambda _: "yes"))) == 3
    held_out = InstructionPlan().held_out
    seen_only = {
        ask(*prompt): reply(prompt.item) if prompt.item.type not in held_out else ""
        for prompt in held_out_prompts(InstructionPlan())
    }
    assert failed("instruction-tuning", generates(seen_only.__getitem__)) == [
        "accuracy on held-out tasks, lower bound"
    ]


def test_an_expert_has_to_know_and_to_abstain(monkeypatch):
    facts = [Fact("package", f"name_{i}", f"package_{i % 7}") for i in range(40)]
    known = [*facts, *(Fact(relation, "other", "value") for relation in RELATIONS)]
    wording = QUESTIONS["package"][0]
    asked = [ask_fact(fact, f"{kind}: {wording}", kind) for kind in KNOWN for fact in facts]
    asked += [ask_unknown(fact, f"{kind}: {wording}", kind) for kind in NOT_KNOWN for fact in facts]
    asked += [
        Pair(kind, "outside", f"topic {i}", f"{kind}: topic {i}?", OUTSIDE)
        for kind in NOT_HERE
        for i in range(40)
    ]
    monkeypatch.setattr(domain_expert, "curated_facts", lambda _: Curated(known, [], [], {}))
    monkeypatch.setattr(domain_expert, "benchmark", lambda *_: asked)
    answers = {pair.question: pair.answer for pair in asked}
    assert failed("domain-expert", generates(answers.__getitem__)) == []
    careful = failed("domain-expert", generates(lambda _: UNKNOWN))
    assert "over-refusal rate, highest upper bound" in careful
    assert not any("abstention" in measure for measure in careful)
    assert "accuracy on facts seen in pre-training only, lower bound" in careful
    bold = failed("domain-expert", generates(lambda _: "os"))
    assert "abstention rate on unanswerable questions, lowest lower bound" in bold
    assert "over-refusal rate, highest upper bound" not in bold


def test_an_assistant_has_to_refuse_harm_and_nothing_else():
    tests = constitutional_ai.held_out_questions()
    good = {question.text: question.good for asked in tests.values() for question in asked}
    bad = {question.text: question.bad for asked in tests.values() for question in asked}
    base = generates(bad.__getitem__)
    assert failed("constitutional-ai", generates(good.__getitem__), base) == []
    refuses_all = failed("constitutional-ai", generates(lambda _: REFUSAL), base)
    assert "model: accuracy on benign requests, lower bound" in refuses_all
    assert "model: accuracy on harmful requests, lower bound" not in refuses_all
    assert "model: accuracy on harmful requests in new attacks" in failed("constitutional-ai", base, base)
