"""The ladder: its model is the package's, and its steps call the reader's own earlier answers."""

import ast
import math
import statistics
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from llmguide import KVCache, ModelConfig
from llmguide.exercises import checking, exercise, exercises, grade
from llmguide.exercises.checking import check, needed
from llmguide.exercises.definition import noise
from llmguide.exercises.ladder import (
    EXERCISES,
    generation,
    preferences,
    reinforcement,
    text,
    training,
    transformer,
    tuning,
)
from llmguide.exercises.ladder.weights import TEXT, make_weights, tensors
from llmguide.models.gpt import GPT
from llmguide.post_training.preferences.dpo import sequence_logprob
from llmguide.tokenization.bpe import learn_merges_simple, merge_piece_simple
from llmguide.training.losses import next_token_loss

NAMES = [found.name for found in EXERCISES]
ANSWERS = Path(__file__).resolve().parents[2] / "docs" / "_data" / "answers" / "ladder.py"
LOSS = "def lm_loss(ids, weights, n_heads):\n    return -token_logprobs(ids, weights, n_heads).mean()\n"
LOGPROBS = (
    "def token_logprobs(ids, weights, n_heads):\n"
    "    logprobs = gpt(ids, weights, n_heads)[:, :-1].log_softmax(-1)\n"
    "    return logprobs.gather(-1, ids[:, 1:, None])[..., 0]\n"
)


@pytest.fixture(scope="module")
def answers():
    """The answers that the guide shows, by name of the exercise."""
    source = ANSWERS.read_text(encoding="utf-8")
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    functions = {node.name: ast.get_source_segment(source, node) for node in nodes}
    imports = "import torch\nimport torch.nn.functional as F\n"
    return {found.name: imports + functions[found.function] for found in EXERCISES}


def package_model(weights, n_heads):
    """The package's GPT with the weights of a model of the ladder."""
    vocab_size, d_model = weights["tokens"].shape
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=len(weights["positions"]),
        n_layers=len(weights["layers"]),
        d_model=d_model,
        n_heads=n_heads,
        norm="rmsnorm",
        bias=False,
    )
    model = GPT(config)
    names = {
        "norm_1": "attention_norm",
        "norm_2": "feed_forward_norm",
        "up": "feed_forward.up",
        "down": "feed_forward.down",
    } | {name: f"attention.{name}_proj" for name in "qkvo"}
    state = {"tokens": weights["tokens"], "positions": weights["positions"], "final_norm": weights["norm"]}
    for i, layer in enumerate(weights["layers"]):
        state |= {f"blocks.{i}.{names[name]}": value for name, value in layer.items()}
    model.load_state_dict({f"{name}.weight": value for name, value in state.items()})
    return model


def test_there_are_enough_rungs_and_each_says_how_hard_it_is():
    for found in EXERCISES:
        assert found.level in {"warm-up", "medium", "hard"}
        assert found.minutes
        assert len(found.hints) == 3
        assert len(found.mistakes) >= 4
        assert found.after
        assert all(
            need.name in list(exercises())[: list(exercises()).index(found.name)]
            for need in needed(found.needs)
        )


def test_the_model_is_the_package_s():
    weights, ids = make_weights(11, 8, 3, 12), torch.tensor([[1, 5, 3, 10, 0], [2, 2, 9, 4, 4]])
    model = package_model(weights, 3)
    torch.testing.assert_close(transformer.gpt(ids, weights, 3), model(ids))
    expected = next_token_loss(model, ids, chunked=False)
    torch.testing.assert_close(training.lm_loss(ids, weights, 3), expected)


def test_the_cache_is_the_package_s():
    weights, ids = make_weights(11, 8, 2, 12), torch.tensor([[1, 5, 3, 10, 0, 7]])
    model, cache, own = package_model(weights, 3), KVCache(2), {}
    with torch.inference_mode():
        for chunk in ids.split([3, 1, 2], dim=1):
            expected = model(chunk, cache=cache)
            torch.testing.assert_close(generation.gpt_cached(chunk, weights, 3, own), expected)


def test_log_probabilities_of_responses_are_the_package_s():
    weights = make_weights(9, 8, 2, 8)
    ids = torch.tensor([[1, 2, 3, 7, 8, 0], [4, 5, 6, 2, 1, 5]])
    labels = torch.tensor([[-100, -100, 7, 8, -100], [5, 6, 2, 1, 5]])
    expected = sequence_logprob(package_model(weights, 2)(ids[:, :-1]), labels)
    found = tuning.response_logprobs([[1, 2, 3], [4]], [[7, 8], [5, 6, 2, 1, 5]], weights, 2)
    torch.testing.assert_close(found, expected)


def test_the_dpo_loss_of_the_reference_itself_is_ln_2():
    weights = make_weights(9, 8, 1, 8)
    found = preferences.dpo_loss([[1], [2]], [[3], [4]], [[5], [6]], weights, weights, 2, 0.1)
    torch.testing.assert_close(found, torch.tensor(2.0).log())


def test_the_reward_loss_is_that_of_the_package_s_model():
    weights, score = make_weights(9, 8, 2, 8), noise(0, 8)
    chosen, rejected = [[1, 2, 3, 4], [5, 6]], [[1, 2, 7], [5, 8, 8, 2, 1]]
    model = package_model(weights, 2)

    def reward(ids):
        return (model.hidden(torch.tensor([ids]))[0, -1] @ score).item()

    gaps = [reward(better) - reward(worse) for better, worse in zip(chosen, rejected, strict=True)]
    expected = sum(math.log(1 + math.exp(-gap)) for gap in gaps) / 2
    assert float(reinforcement.reward_loss(chosen, rejected, weights, 2, score)) == pytest.approx(expected)


def test_the_grpo_loss_is_that_of_its_formula():
    weights, rewards, clip = make_weights(9, 8, 1, 8), [1.0, 0.0, 0.5], 0.2
    ids = torch.tensor([[1, 2, 3, 4, 0], [1, 2, 5, 6, 8], [1, 2, 7, 8, 3]])
    logprobs = package_model(weights, 2)(ids).log_softmax(-1)
    old = torch.stack([logprobs[i, range(4), ids[i, 1:]] for i in range(3)]).detach() + 0.4 * noise(1, 3, 4)
    objectives = []
    for tokens, row, olds, reward in zip(ids.tolist(), logprobs.tolist(), old.tolist(), rewards, strict=True):
        advantage = (reward - statistics.mean(rewards)) / (statistics.stdev(rewards) + 1e-4)
        for t in (2, 3, 4):  # the prompt has two tokens
            ratio = math.exp(row[t - 1][tokens[t]] - olds[t - 1])
            objectives.append(min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage))
    loss = reinforcement.grpo_loss(ids, 2, torch.tensor(rewards), old, weights, 2, clip)
    assert float(loss) == pytest.approx(-statistics.mean(objectives), rel=1e-4)


def test_a_step_on_the_grpo_loss_makes_rewarded_completions_more_likely():
    weights, ids = make_weights(9, 8, 1, 8), torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6], [1, 2, 7, 8]])
    rewards = torch.tensor([1.0, 0.0, 0.0])
    old = training.token_logprobs(ids, weights, 2).detach()
    parts = list(tensors(weights))
    for part in parts:
        part.requires_grad_()
    loss = reinforcement.grpo_loss(ids, 2, rewards, old, weights, 2, 0.2)
    with torch.no_grad():
        for part, gradient in zip(parts, torch.autograd.grad(loss, parts), strict=True):
            part.sub_(0.01 * gradient)
        change = (training.token_logprobs(ids, weights, 2) - old)[:, 1:].sum(1)
    assert change[0] > 0 > change[1:].mean()


def test_merged_adapters_are_the_package_s_lora():
    weights, x = make_weights(9, 8, 1, 6), noise(0, 3, 6)
    A, B = noise(1, 2, 6), noise(2, 6, 2)
    merged = tuning.lora_weights(weights, [{"k": (A, B)}], 4.0)["layers"][0]
    expected = exercise("lora").solution(x, weights["layers"][0]["k"], A, B, 4.0)
    torch.testing.assert_close(x @ merged["k"].T, expected)
    assert merged["q"] is weights["layers"][0]["q"]


def test_the_tokenizer_is_the_package_s():
    words = {word.encode(): 1 for word in TEXT.split()}
    merges = learn_merges_simple(words, 40)
    table = text._bytes(merges)
    ranks = {token: i for i, token in enumerate(table)}
    for word in TEXT.split():
        assert text.encode(word, merges) == merge_piece_simple(word.encode(), ranks)
        assert text.decode(text.encode(word, merges), merges) == word


def test_the_training_loop_reaches_its_loss_with_another_optimizer():
    def mine(batches, weights, n_heads, lr, make_optimizer=torch.optim.Adam):
        parts = list(tensors(weights))
        for part in parts:
            part.requires_grad = True
        optimizer, losses = make_optimizer(parts, lr=lr), []
        for ids in batches:
            logits = transformer.gpt(ids[:, :-1], weights, n_heads)
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses

    assert grade("train", mine).passed
    assert grade("train", partial(mine, make_optimizer=torch.optim.SGD)).mistake == "plain SGD"


def test_the_training_loop_must_return_a_float_for_each_batch():
    def with_tensors(*arguments):
        return [torch.tensor(loss) for loss in training.train(*arguments)]

    for mine in (with_tensors, lambda *arguments: training.train(*arguments)[1:]):
        found = grade("train", mine)
        assert not found.passed
        assert "'first loss returned': 'no list of 30 floats'" in str(found)


def test_recomputing_is_noticed_although_the_logits_are_right():
    def mine(ids, weights, n_heads, cache):
        cache["ids"] = torch.cat([cache["ids"], ids], dim=1) if cache else ids
        x = transformer.embed(cache["ids"], weights)
        for layer in weights["layers"]:
            x = transformer.block(x, layer, n_heads)
        x = transformer.rms_norm(x[:, -ids.shape[1] :], weights["norm"], 1e-5)
        return F.linear(x, weights["tokens"])

    found = grade("kv-cache", mine)
    assert found.mistake == "the whole text again"


def test_the_readers_own_model_writes(answers):
    found = check("write", answers["write"], answers)
    assert found.passed
    assert "A sample from it:\nFour score and" in str(found)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise SystemExit('done')", "your functions raise SystemExit: done"),
        ("return (", "in your earlier answer to encode, '(' was never closed (line 2)"),
    ],
)
def test_a_demonstration_that_fails_says_why_and_the_answer_passes(body, why, answers):
    found = check("write", answers["write"], {"encode": f"def encode(text, merges):\n    {body}"})
    assert found.passed
    assert str(found).endswith(f"There is no demonstration: {why}")


def test_a_demonstration_that_does_not_end_is_stopped(answers, monkeypatch):
    monkeypatch.setattr(checking, "_DEMO_SECONDS", 1)
    found = check("write", answers["write"], {"encode": "def encode(text, merges):\n    while True: pass"})
    assert found.passed
    assert str(found).endswith("your functions have not finished after 1 seconds.")


def test_an_answer_that_fails_is_not_demonstrated(answers, capsys):
    wrong = answers["gpt"].replace("return ", "return -")
    encode = "def encode(text, merges):\n    print('called')\n"
    found = check("write", answers["write"], {"gpt": wrong, "encode": encode})
    assert str(found).endswith("Check again: gpt.")
    assert not capsys.readouterr().out


# ---- on top of the reader's own answers --------------------------------------------------------------------


def test_an_earlier_answer_is_called():
    own = LOGPROBS.replace("    logprobs", "    raise RuntimeError('mine')\n    logprobs", 1)
    assert check("lm-loss", LOSS).passed
    assert check("lm-loss", LOSS, {"token-logprobs": LOGPROBS}).passed
    found = check("lm-loss", LOSS, {"token-logprobs": own})
    assert str(found) == (
        "lm-loss: right with the reference solutions, but not with your own earlier answers. "
        "Check again: token-logprobs."
    )


def test_what_is_wrong_with_the_answer_itself_is_said_first():
    found = check("lm-loss", LOSS.replace("-token", "token"), {"token-logprobs": LOGPROBS})
    assert found.mistake == "sign"


def test_an_earlier_answer_that_cannot_run_is_named():
    found = check("lm-loss", LOSS.replace("-token", "token"), {"token-logprobs": "1 / 0"})
    assert "in your earlier answer to token-logprobs, the code raises ZeroDivisionError" in str(found)


def test_answers_keep_their_own_helpers():
    helper = "def helper(x):\n    return {}\n\n"
    own = helper.format("x") + LOGPROBS.replace("[..., 0]", "[..., 0].mul(helper(1))")
    mine = helper.format("-x") + LOSS.replace(
        "-token_logprobs(ids, weights, n_heads)", "helper(token_logprobs(ids, weights, n_heads))"
    )
    assert check("lm-loss", mine, {"token-logprobs": own}).passed


def test_only_what_an_exercise_builds_on_can_be_called():
    assert "NameError: name 'gpt_cached' is not defined" in str(check("lm-loss", "gpt_cached"))
    assert exercise("lm-loss").needs == ("token-logprobs",)
