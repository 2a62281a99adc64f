"""Solutions that are not functions of the package, against those that are, and against brute force."""

from bisect import bisect_right
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from itertools import product
from random import Random

import pytest
import torch
import torch.nn.functional as F

from llmguide import ModelConfig, build, direct_logit_attribution, patch_residual, record_activations
from llmguide.coding.patterns.dynamic import edit_distance
from llmguide.config.presets import PRESETS
from llmguide.costs.memory import kv_cache_bytes, latent_cache_bytes_per_token
from llmguide.exercises import exercise, grade
from llmguide.exercises.coding.generated_code import END, scan
from llmguide.exercises.definition import noise
from llmguide.exercises.models.family_sizes import MIXTRAL, cache_size
from llmguide.interpretability.head_scores import induction_scores
from llmguide.interpretability.sparse_autoencoder import SparseAutoencoder, sae_metrics
from llmguide.post_training.adapters.lora_layer import add_low_rank
from llmguide.post_training.adapters.quantization import absmax_int8
from llmguide.post_training.preferences.reward_model import bradley_terry_loss
from llmguide.post_training.rl.grpo_losses import has_signal, leave_one_out_advantages
from llmguide.post_training.rl.ppo_losses import gae


def solution(name):
    return exercise(name).solution


# ---- post-training ---------------------------------------------------------------------------------------


def test_packed_rows_hold_each_example_once():
    random = Random(0)
    ids = iter(range(1, 10_000))
    examples = [
        ([next(ids) for _ in range(random.randrange(4))], [next(ids) for _ in range(random.randrange(1, 5))])
        for _ in range(40)
    ]
    rows = solution("pack")(examples, 9)
    inputs = [token for row in rows for token in row[0] if token]
    targets = [token for row in rows for token in row[1] if token != -100]
    assert sorted(inputs) == [token for prompt, response in examples for token in prompt + response]
    assert sorted(targets) == [
        token for prompt, response in examples for token in (response if prompt else response[1:])
    ]
    for row_inputs, row_targets, positions in rows:
        assert len(row_inputs) == len(row_targets) == len(positions) == 9
        for i, target in enumerate(row_targets):
            assert target == -100 or (target == row_inputs[i + 1] and positions[i + 1] == positions[i] + 1)


def test_ranking_of_two_is_a_comparison():
    rewards = noise(0, 5, 2)
    expected = bradley_terry_loss(rewards[:, 1], rewards[:, 0])
    torch.testing.assert_close(solution("ranking-loss")(rewards, torch.tensor([[2, 1]] * 5)), expected)


def test_best_of_n_by_enumeration():
    probs, rewards = torch.tensor([0.1, 0.4, 0.2, 0.3]), [1.0, -1.0, 1.0, 0.5]
    expected = torch.zeros(4)
    for samples in product(range(4), repeat=3):
        best = [i for i in samples if rewards[i] == max(rewards[j] for j in samples)]
        for i in best:
            expected[i] += probs[list(samples)].prod() / len(best)
    found, divergence = solution("best-of-n")(probs, torch.tensor(rewards), 3)
    torch.testing.assert_close(found.to(expected), expected)
    assert divergence == pytest.approx(F.kl_div(probs.log(), expected, reduction="sum").item(), rel=1e-5)


def test_ratings_maximize_the_likelihood():
    wins = torch.tensor([[0, 30, 2, 1], [10, 0, 1, 5], [1, 1, 0, 20], [1, 2, 10, 0]])
    ratings = torch.tensor(solution("ratings")(wins.tolist()), requires_grad=True)
    odds = (ratings[:, None] - ratings) * torch.log(torch.tensor(10.0)) / 400
    (wins * F.logsigmoid(odds)).sum().backward()
    torch.testing.assert_close(ratings.grad, torch.zeros(4), atol=1e-5, rtol=0)
    assert ratings.mean().item() == pytest.approx(0, abs=1e-4)


def test_ratings_by_another_method_are_accepted():
    def by_gradient(wins):
        counts, ratings = torch.tensor(wins, dtype=torch.float64), torch.zeros(len(wins), dtype=torch.float64)
        games = counts + counts.T
        for _ in range(4000):
            expected = (games * torch.sigmoid(ratings[:, None] - ratings)).sum(dim=1)
            ratings = ratings + (counts.sum(dim=1) - expected) / games.sum(dim=1)
        ratings = (ratings - ratings.mean()) * 400 / torch.log(torch.tensor(10.0))
        return [round(rating, 2) for rating in ratings.tolist()]

    assert grade("ratings", by_gradient).passed


@pytest.mark.parametrize("bootstrapped", [False, True])
def test_advantages_of_an_episode_are_those_of_a_completion(bootstrapped):
    rewards, values, following = noise(1, 5), noise(2, 5), noise(3, 1)
    last = torch.arange(5) == 4
    ends = (~last & last, last) if bootstrapped else (last, ~last & last)
    found = solution("episode-advantages")(
        rewards, values, torch.cat([values[1:], following]), *ends, 0.9, 0.8
    )
    rewards[-1] += 0.9 * following[0] * bootstrapped
    torch.testing.assert_close(found, gae(rewards[None], values[None], gamma=0.9, lam=0.8)[0][0])


def test_leave_one_out_of_equal_groups_is_that_of_the_package():
    rewards, order = noise(4, 12), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    prompts = torch.arange(12) // 4
    expected = leave_one_out_advantages(rewards, 4)[order]
    torch.testing.assert_close(solution("leave-one-out")(rewards[order], prompts[order]), expected)


def test_kept_groups_have_a_signal():
    groups = [[float(reward) for reward in f"{number:03b}"] for number in range(8)]
    numbers = iter(range(8))

    def sample():
        number = next(numbers)
        return str(number), groups[number]

    kept = solution("fill-batch")(sample, 8, 8)
    flags = has_signal(torch.tensor(groups).flatten(), 3)[::3].tolist()
    assert kept == [str(number) for number in range(8) if flags[number]]


@pytest.mark.parametrize("reverse", [False, True])
def test_distillation_is_kl_div_with_gradients_of_one_size(reverse):
    student, teacher = noise(5, 1, 3, 6), noise(6, 1, 3, 6)
    mask = torch.ones(1, 3, dtype=torch.bool)
    p, q = (student, teacher) if reverse else (teacher, student)
    expected = F.kl_div(
        (q[0] / 2).log_softmax(-1), (p[0] / 2).log_softmax(-1), log_target=True, reduction="batchmean"
    )
    torch.testing.assert_close(solution("distill")(student, teacher, mask, 2.0, reverse), 4 * expected)
    sizes = []
    for temperature in (50.0, 100.0):
        logits = student.clone().requires_grad_()
        solution("distill")(logits, teacher, mask, temperature, reverse).backward()
        sizes.append(logits.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_merged_weights_compute_what_the_adapter_adds():
    x, weight, A, B = noise(7, 3, 4), noise(8, 5, 4), noise(9, 2, 4), noise(10, 5, 2)
    config = {"alpha": 6.0, "rank_stabilized": False, "transposed": ["b"]}
    adapter = {"a.A": A, "a.B": B, "b.A": A, "b.B": B}
    merged = solution("merge")({"a": weight, "b": weight.T}, adapter, config)
    expected = add_low_rank(F.linear(x, weight), x, A, B, 6.0 / 2)
    torch.testing.assert_close(F.linear(x, merged["a"]), expected)
    torch.testing.assert_close(x @ merged["b"], expected)


def test_outliers_are_exact_and_the_rest_is_an_integer_product():
    x, W = noise(11, 3, 8), noise(12, 5, 8)
    (codes, scale), (w_codes, w_scale) = absmax_int8(x), absmax_int8(W)
    expected = (codes.int() @ w_codes.int().T) * scale * w_scale.T
    torch.testing.assert_close(solution("mixed-matmul")(x, W, 100.0), expected)
    x[:, 3] *= 50
    assert not torch.allclose(solution("mixed-matmul")(x, W, 1e9), x @ W.T, atol=0.1)
    torch.testing.assert_close(solution("mixed-matmul")(x, W, 6.0), x @ W.T, atol=0.1, rtol=0)


# ---- interpretability ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    config = ModelConfig(vocab_size=11, context_length=8, n_layers=2, d_model=12, n_heads=3)
    torch.manual_seed(0)
    model = build(config)
    with torch.no_grad():
        model.final_norm.weight.add_(noise(16, 12))
        for parameter in model.blocks.parameters():
            parameter.mul_(8)  # small effects would drown in rounding
    return model


@torch.no_grad()
def test_attribution_is_that_of_the_package(model):
    run = record_activations(model, torch.tensor([[1, 2, 3]]))
    right, wrong = torch.tensor([2, 3, 4]), torch.tensor([5, 6, 7])
    parts = [run.residual[0]]
    for i in range(2):
        fed = run.feed_forward_outputs[i]
        parts += [run.residual[i + 1] - run.residual[i] - fed, fed]
    head = (model.tokens if model.head is None else model.head).weight
    found = solution("attribute")(torch.cat(parts), model.final_norm.weight, head, right, wrong)
    expected = (direct_logit_attribution(model, run, ids[None])[:, 0] for ids in (right, wrong))
    difference = torch.sub(*expected)
    names = [0, slice(1, 5), 5, slice(6, 10), 10]  # a layer has 3 heads, a bias and the feed-forward part
    sums = [difference[name].reshape(-1, 3).sum(dim=0) for name in names]
    torch.testing.assert_close(found, torch.stack(sums), atol=1e-5, rtol=1e-4)


def test_induction_scores_are_those_of_the_package():
    ids = torch.randperm(9, generator=torch.Generator().manual_seed(0)).tolist()
    pattern = noise(13, 4, 18, 18).softmax(-1)
    found = solution("induction-scores")(pattern, ids + ids)
    torch.testing.assert_close(found, induction_scores(pattern[None, None], 9)[0])


@torch.no_grad()
def test_patched_grid_is_that_of_the_package(model):
    clean, corrupted = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 4, 3]])
    streams = [record_activations(model, ids).residual[0, 0] for ids in (clean, corrupted)]
    layers = [lambda x, block=block: block(x[None], is_causal=True)[0] for block in model.blocks]

    def metric(x):
        head = model.tokens if model.head is None else model.head
        return float((model.final_norm(x) @ head.weight.T)[-1, 5])

    found = torch.tensor(solution("patch-grid")(layers, *streams, metric))
    expected = patch_residual(model, clean, corrupted, lambda logits: logits[0, -1, 5])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_metrics_of_an_autoencoder_are_those_of_the_package():
    sae = SparseAutoencoder(4, 9, k=3, generator=torch.Generator().manual_seed(0))
    sae.bias.copy_(noise(14, 4))
    x = noise(15, 20, 4) + 1
    found = solution("evaluate-sae")(x, sae.encoder, sae.decoder, sae.bias, 3)
    expected = sae_metrics(sae, x)
    assert found == pytest.approx(
        (expected.l0, expected.variance_explained, expected.dead_fraction), abs=1e-5
    )


# ---- sizes -----------------------------------------------------------------------------------------------


def test_parameters_of_mixtral():
    preset = PRESETS["mixtral-8x7b"]
    assert solution("moe-params")(MIXTRAL) == (preset.n_params(), preset.n_active_params())


def test_caches_are_those_of_the_memory_module():
    preset = PRESETS["llama-3-8b"]
    full = {"kind": "full", "kv_heads": preset.n_kv_heads, "head_dim": preset.head_dim}
    latent = {"kind": "latent", "latent_dim": 512, "rope_dim": 64}
    assert cache_size([full] * preset.n_layers, 100) == kv_cache_bytes(preset, 100)
    assert cache_size([latent] * 61, 7) == 7 * latent_cache_bytes_per_token(61, latent_dim=512, rope_dim=64)


def test_longest_context_by_trying_all():
    sliding = {"kind": "sliding", "kv_heads": 2, "head_dim": 4, "window": 30}
    layers = [sliding, sliding, {"kind": "state", "heads": 2, "head_dim": 8}, sliding | {"kind": "full"}]
    for budget in (5_000, 9_999, 50_000):
        fitting = [n for n in range(1, 2000) if 3 * cache_size(layers, n) <= budget]
        assert solution("longest-context")(layers, 3, budget) == max(fitting, default=0)


# ---- generated code and algorithms -----------------------------------------------------------------------


def test_prefixes_of_lists_by_enumeration():
    numbers = ["0", "1", *(f"1{''.join(rest)}" for n in (1, 2) for rest in product("01", repeat=n))]
    items = {*numbers}
    for _ in range(4):  # as deep as four opening brackets; a second item starts within four characters
        first = [item for item in items if len(item) <= 3]
        lists = {"[]", *(f"[{item}]" for item in items)}
        items |= lists | {f"[{item},{other}]" for item in first for other in ("0", "10", "11", "[]")}
    valid = {item for item in items if item.startswith("[")}
    prefixes = {text[:n] for text in valid for n in range(len(text) + 1)}
    for length in range(5):
        for characters in product("[],01", repeat=length):
            text = "".join(characters)
            assert (scan(text) is not None) == (text in prefixes), text
            assert solution("allowed-tokens")(text, [END]) == [text in valid]


def test_inversions_by_brute_force():
    random = Random(0)
    for _ in range(50):
        numbers = [random.randrange(6) for _ in range(random.randrange(12))]
        expected = sum(a > b for i, a in enumerate(numbers) for b in numbers[i:])
        assert solution("count-inversions")(numbers) == expected


def test_word_errors_are_edits():
    random = Random(0)
    for _ in range(30):
        a, b = ("".join(random.choices("abc", k=random.randrange(1, 9))) for _ in range(2))
        assert solution("word-errors")([*a], [*b]) == edit_distance(a, b) / len(a)


def test_hits_are_those_of_functools():
    random = Random(0)
    requests = [random.choice("abcdefgh") for _ in range(300)]
    for capacity in (1, 3, 7):
        cached = lru_cache(capacity)(str.upper)
        expected = []
        for key in requests:
            before = cached.cache_info().hits
            cached(key)
            expected.append(cached.cache_info().hits > before)
        assert solution("cache-hits")(requests, capacity) == expected


def test_waves_are_those_of_graphlib():
    random = Random(0)
    for _ in range(100):
        tasks = "abcdefg"
        needs = {task: random.sample(tasks, random.randrange(3)) for task in tasks}
        sorter = TopologicalSorter(needs)
        try:
            sorter.prepare()
        except CycleError:
            assert solution("schedule")(needs) is None
            continue
        waves = []
        while sorter.is_active():
            waves.append(sorted(sorter.get_ready()))
            sorter.done(*waves[-1])
        assert solution("schedule")(needs) == waves


def test_other_fast_answers_pass():
    def inversions(items):
        seen, count = [], 0
        for item in items:
            place = bisect_right(seen, item)
            count += len(seen) - place
            seen.insert(place, item)
        return count

    def waves(needs):
        sorter, found = TopologicalSorter(needs), []
        try:
            sorter.prepare()
        except CycleError:
            return None
        while sorter.is_active():
            found.append(sorted(sorter.get_ready()))
            sorter.done(*found[-1])
        return found

    def hits(requests, capacity):
        last, results = {}, []
        for i, key in enumerate(requests):
            results.append(key in last)
            last[key] = i
            if len(last) > capacity:
                del last[min(last.items(), key=lambda entry: entry[1])[0]]
        return results

    for name, answer in [("count-inversions", inversions), ("schedule", waves), ("cache-hits", hits)]:
        assert grade(name, answer).passed, name
