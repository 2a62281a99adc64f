"""Every mutant is caught and named, every solution passes, and what is wrong otherwise is explained."""

import importlib
import threading
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import torch

from llmguide.coding import FunctionTests
from llmguide.coding.voting import vote
from llmguide.config.presets import PRESETS
from llmguide.costs.memory import kv_cache_bytes
from llmguide.costs.scaling_laws import KAPLAN_COMPUTE
from llmguide.data.cleaning.dedup import jaccard, match_probability
from llmguide.exercises import exercise, exercises, grade
from llmguide.exercises.checking import check
from llmguide.exercises.comparing import difference, same
from llmguide.exercises.grading import MODULES
from llmguide.exercises.time_limit import time_limit
from llmguide.post_training.adapters.quantization import NF4

MISTAKES = [(name, mistake) for name, found in exercises().items() for mistake in found.mistakes]
CAUGHT = {  # mistakes, and where each is recognized
    "missing 1/sqrt(d)": "attention",
    "softmax over the wrong axis": "attention",
    "mask off by one, hides itself": "causal-mask",
    "mask inverted": "causal-mask",
    "post- for pre-norm": "pre-norm",
    "mean subtracted": "rms-norm",
    "mean instead of sum": "sequence-logprob",
    "KL sign": "kl",
    "reference and policy swapped": "dpo",
    "advantage not normalized": "group-advantages",
    "next value off by one": "gae",
    "label shift forgotten": "next-token-loss",
    "loss on the prompt": "sft-targets",
    "weight decay coupled": "adamw",
    "bias correction forgotten": "adamw",
    "drops the token that crosses p": "top-p",
    "multiplied instead of divided": "temperature",
    "merges in the wrong order": "bpe-encode",
    "interleaved layout": "rope",
    "scale forgotten": "lora",
    "pair swapped": "bradley-terry",
    "divided by the number of micro-batches": "accumulate",
    "off by one": "warmup-cosine",
    "nats for bits": "bits",
    "total not raised": "smooth",
    "a free license is enough": "release-kind",
    "everything times the experts": "expert-params",
    "fraction of passes plugged in": "pass-at-k",
    "repeated maxima": "second-largest",
    "greedy": "coin-change",
    "sliding window": "count-subarrays",
    "children only": "is-search-tree",
    "start jumps back": "longest-without-repeat",
    "first block": "extract-code",
    "failures have a vote": "vote",
    "circles not noticed": "solve",
    "end of the turn not learned": "turn-mask",
    "positions run on": "packed-positions",
    "sums instead of means": "simpo",
    "hours taken for seconds": "mfu",
    "sign of the scale": "four-bits",
    "linear search": "first-true",
    "examples run into each other": "pack",
    "truncated taken for terminated": "episode-advantages",
    "own reward in the baseline": "leave-one-out",
    "solved groups kept": "fill-batch",
    "not rescaled": "distill",
    "outliers quantized": "mixed-matmul",
    "leading zeros": "allowed-tokens",
    "first in, first out": "cache-hits",
}


@pytest.mark.parametrize("name", exercises())
def test_solution_passes(name):
    assert grade(name, exercise(name).solution).passed


@pytest.mark.parametrize(("name", "mistake"), MISTAKES, ids=[f"{name}: {it.name}" for name, it in MISTAKES])
def test_mutant_is_caught_and_named(name, mistake):
    found = grade(name, mistake.mutant)
    assert (found.passed, found.mistake) == (False, mistake.name)
    assert mistake.when in str(found)
    assert mistake.hint in str(found)


def test_each_exercise_has_hints_and_at_least_three_mistakes():
    for found in exercises().values():
        assert len(found.mistakes) >= 3
        assert found.hints
        assert len({mistake.name for mistake in found.mistakes}) == len(found.mistakes)


def test_each_exercise_has_a_level_and_minutes_and_if_it_is_no_warm_up_three_hints():
    for found in exercises().values():
        assert found.level in {"warm-up", "medium", "hard"}, found.name
        assert found.minutes >= 1, found.name
        assert len(found.hints) == 3 or found.level == "warm-up", found.name


def test_names_are_unique():
    modules = [importlib.import_module(f"llmguide.exercises.{name}") for name in MODULES]
    assert len(exercises()) == sum(len(module.EXERCISES) for module in modules)


@pytest.mark.parametrize(("mistake", "name"), CAUGHT.items())
def test_classic_mistakes_are_known(mistake, name):
    assert mistake in [known.name for known in exercise(name).mistakes]


def test_probes_are_the_same_at_each_call():
    for found in exercises().values():
        first, second = found.probes(), found.probes()
        plain = [[part for part in probe if not callable(part)] for probe in first]
        assert same([[part for part in probe if not callable(part)] for probe in second], plain)


# ---- solutions that are not functions of the package, against those that are -----------------------------


def test_parameters_from_a_config_are_those_of_the_preset():
    preset = PRESETS["llama-3-8b"]
    config = {
        "hidden_size": preset.d_model,
        "intermediate_size": preset.d_ff,
        "num_hidden_layers": preset.n_layers,
        "num_attention_heads": preset.n_heads,
        "num_key_value_heads": preset.n_kv_heads,
        "vocab_size": preset.vocab_size,
        "tie_word_embeddings": preset.tie_embeddings,
    }
    assert exercise("config-params").solution(config) == preset.n_params()


def test_cache_is_that_of_the_memory_module():
    preset = PRESETS["llama-3-8b"]
    shape = preset.n_layers, preset.n_heads, preset.n_kv_heads, preset.head_dim
    assert exercise("cache-bytes").solution(*shape, 4096) == kv_cache_bytes(preset, 4096)


def test_experts_of_mixtral():
    mixtral = PRESETS["mixtral-8x7b"]
    expert = 3 * mixtral.n_layers * mixtral.d_model * mixtral.d_ff
    found = exercise("expert-params").solution(mixtral.n_params() - 8 * expert, expert, 8, 2)
    assert found == (mixtral.n_params(), mixtral.n_active_params())


def test_share_of_what_follows():
    text = "".join(Random(0).choices("ab", k=200))
    counts = Counter(text[i : i + 3] for i in range(198))
    wanted = counts["aba"] / (counts["aba"] + counts["abb"])
    assert exercise("follows").solution(text, "ab", "a") == pytest.approx(wanted)


def test_smoothed_probabilities_add_up_to_one():
    counts = [3, 0, 7, 1]
    parts = [exercise("smooth").solution(n, sum(counts), 0.2, len(counts)) for n in counts]
    assert sum(parts) == pytest.approx(1.0)


def test_factor_lowers_the_loss_by_the_share():
    factor = exercise("times-more").solution(0.05, 0.1)
    loss = KAPLAN_COMPUTE
    assert loss(1e22 * factor) / loss(1e22) == pytest.approx(0.9)


def test_vote_is_that_of_the_judge():
    sources = [
        "def f(x): return x * x",
        "def f(x): return x + x",
        "f = lambda x: x ** 2",
        "def f(x): return y",
    ]
    calls = FunctionTests("f", [([2], None), ([3], None)])
    results = [[4, 9], [4, 6], [4, 9], [None, None]]
    assert exercise("vote").solution(results) == vote(sources, calls).winner


def test_subarrays_and_search_trees_by_brute_force():
    random = Random(0)
    for _ in range(50):
        numbers, k = [random.randrange(-3, 4) for _ in range(random.randrange(9))], random.randrange(-4, 5)
        subarrays = [numbers[i:j] for i in range(len(numbers)) for j in range(i + 1, len(numbers) + 1)]
        assert exercise("count-subarrays").solution(numbers, k) == sum(sum(s) == k for s in subarrays)

        items = random.sample(range(6), 4)
        tree = (((None, items[0], None), items[1], (None, items[2], None)), items[3], None)
        ordered = items[0] < items[1] < items[2] < items[3]
        assert exercise("is-search-tree").solution(tree) == ordered


def test_similarity_is_that_of_the_deduplication():
    a, b = list("abcabdabc"), list("cabdd")
    assert exercise("similarity").solution(a, b, 2) == pytest.approx(jaccard(" ".join(a), " ".join(b), 2))


def test_probability_of_a_match_is_that_of_the_deduplication():
    for s, bands, rows in [(0.72, 14, 8), (0.5, 20, 3), (0.0, 1, 1), (1.0, 2, 5)]:
        expected = match_probability(s, bands=bands, rows=rows)
        assert exercise("match-probability").solution(s, bands, rows) == expected


def test_masked_turns_end_where_the_model_has_to_stop():
    ids, mask = exercise("turn-mask").solution([("user", [7, 8]), ("assistant", [9])])
    assert ids == [1, 3, 7, 8, 2, 1, 4, 9, 2]
    assert [token for token, learned in zip(ids, mask, strict=True) if learned] == [9, 2]


def test_repeated_tokens_are_never_worth_more_than_their_limit():
    worth = exercise("worth").solution
    assert worth(100.0, 1.0) == 100
    assert worth(100.0, 1e6) == pytest.approx(100 * (1 + 15.39))


def test_numbers_of_the_chapter_on_adapters():
    queries_and_values = [(4096, 4096)] * (2 * 32)
    assert exercise("lora-params").solution(queries_and_values, 8) == 4_194_304
    kept = exercise("four-bits").solution(torch.tensor([0.5, -2.0, 0.0, 1.1]), NF4)
    assert kept.tolist() == pytest.approx([0.492, -2, 0, 1.125], abs=1e-3)


# ---- submissions of a reader, written as a reader writes them -------------------------------------------


def test_attention_written_by_hand():
    def mine(q, k, v, mask=None):
        scores = torch.einsum("...qe,...ke->...qk", q, k) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = torch.where(mask, scores, -1e9)
        weights = torch.exp(scores - scores.amax(-1, keepdim=True))
        return torch.einsum("...qk,...kv->...qv", weights / weights.sum(-1, keepdim=True), v)

    assert grade("attention", mine).passed


def test_dpo_with_the_mean_of_ratios_is_no_known_mistake():
    found = grade("dpo", lambda pc, pr, rc, rr, beta: (pc.mean(), pc, pr))
    assert not found.passed
    assert not found.mistake
    assert "not in a way that this test can name" in str(found)


def test_gae_written_by_hand():
    def mine(rewards, values, gamma, lam):
        T = rewards.shape[1]
        deltas = [
            rewards[:, t] + gamma * (values[:, t + 1] if t + 1 < T else 0) - values[:, t] for t in range(T)
        ]
        return torch.stack(
            [sum((gamma * lam) ** (s - t) * deltas[s] for s in range(t, T)) for t in range(T)], dim=1
        )

    assert grade("gae", mine).passed


def test_errors_of_the_reader_are_shown_with_the_arguments():
    found = grade("causal-mask", lambda T_q, T_k: torch.ones(T_q).missing)
    assert not found.passed
    assert "AttributeError" in str(found)
    assert "for T_q = 4, T_k = 4" in str(found)


def test_wrong_shape_is_said():
    found = grade("split-heads", lambda x, n_heads: x[0])
    assert "shape (6, 12), expected (2, 3, 6, 4)" in str(found)


def test_one_wrong_number_of_many_is_pointed_at():
    def mine(q, k, v, mask=None):
        result = exercise("attention").solution(q, k, v, mask).clone()
        result[1, 0, 2, 3] = 9.0
        return result

    found = str(grade("attention", mine))
    assert "1 of 60 numbers are wrong. At [1, 0, 2, 3]: got 9.0, expected " in found


def test_the_line_that_raises_is_said():
    source = "def temperature(logits, t):\n    scale = 1 / t\n    return logits * scal\n"
    found = check("temperature", source)
    assert "NameError: name 'scal' is not defined" in str(found)
    assert "(line 3)" in str(found)


def test_code_that_cannot_run_is_explained():
    assert str(check("temperature", "def temperature(logits, t)\n")) == "temperature: expected ':' (line 1)"
    assert str(check("temperature", "raise SyntaxError('no line')")) == "temperature: no line"
    assert "(line None)" not in str(check("temperature", "x = 1\0"))
    found = str(check("temperature", "\nhot()"))
    assert found == "temperature: the code raises NameError: name 'hot' is not defined (line 2)"
    assert "defines no function temperature(logits, t)" in str(check("temperature", "temperature = 1"))
    assert str(check("temperature", "exit_code = 3\nraise SystemExit(exit_code)")).endswith(
        "SystemExit: 3 (line 2)"
    )
    leaving = check("temperature", "def temperature(logits, t):\n    raise SystemExit(3)\n")
    assert "it raises SystemExit: 3 (line 2)" in str(leaving)


def test_right_backpropagation_is_shown_to_agree_with_finite_differences():
    source = """
def backward(x, w1, w2, grad):
    hidden = x @ w1.T
    into = (grad @ w2) * (hidden > 0)
    return into @ w1, into.T @ x, grad.T @ hidden.clamp(min=0)
"""
    found = check("backpropagation", source)
    assert found.passed
    assert str(found).endswith("backward pass: The gradient of network agrees with finite differences.")


def test_source_runs_in_names_of_its_own():
    assert check("temperature", "temperature = lambda logits, t: logits / t").passed
    assert "NameError: name 'temperature' is not defined" in str(check("temperature", "temperature"))


def test_an_interrupt_is_no_wrong_answer():
    with pytest.raises(KeyboardInterrupt):
        check("temperature", "def temperature(logits, t):\n    raise KeyboardInterrupt")


def test_an_endless_loop_is_stopped():
    def mine(logits, t):
        while True:
            with suppress(Exception):
                t += 1

    found = grade("temperature", mine, timeout=0.2)
    assert found.mistake == "does not finish"
    assert "has not finished after 0.2 seconds" in str(found)


def test_the_clock_of_code_that_ends_in_time_is_stopped():
    running = set(threading.enumerate())
    with time_limit(60):
        started = set(threading.enumerate()) - running
    (clock,) = [thread for thread in started if isinstance(thread, threading.Timer)]
    clock.join(10)
    assert not clock.is_alive()


def test_a_float_for_an_int_is_said():
    found = grade("count-parameters", lambda *sizes: float(exercise("count-parameters").solution(*sizes)))
    assert found.mistake == "float for int"
    assert "a type is wrong: float instead of int.\nGot 124439808.0\nexpected 124439808" in str(found)


def test_an_int_for_a_float_is_right():
    assert grade("bits", exercise("bits").solution).passed
    assert same([2], [2.0])
    assert not same([2.0], [2])
    assert not same([True], [1])


def test_arguments_changed_in_place():
    found = grade("temperature", lambda logits, t: logits.div_(t))
    assert found.mistake == "changes its arguments"


def test_returning_nothing_is_no_crash():
    assert not grade("accumulate", lambda losses, counts: None).passed
    assert not grade("chinchilla", lambda flops: (None, None)).passed


def test_unknown_exercise():
    with pytest.raises(ValueError, match="no exercise is named 'attention-2'; did you mean attention\\?"):
        grade("attention-2", len)


def test_exercise_shows_its_task():
    assert repr(exercise("lora")).startswith("lora: lora(x, W, A, B, alpha)")


def test_a_wrong_result_is_shown_without_the_note_on_the_work():
    found = str(grade("unigram", lambda word, logprobs: ["x"]))
    assert "Got ['x']\nexpected ['hu', 'gs']" in found
    large = str(grade("flash-attention", lambda q, k, v, block: torch.zeros(len(q), 9)))
    assert "The result has shape (11, 9), expected (11, 3)" in large


def test_a_result_of_another_type_is_told_apart_where_it_prints_the_same():
    text = difference("x = 1", torch.tensor([0.75, 0.25]), [0.75, 0.25])
    assert "Got [0.75, 0.25] of type Tensor, not list" in text
    assert "of type" not in difference("x = 1", torch.tensor([0.750001]), torch.tensor([0.75]))
