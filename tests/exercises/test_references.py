"""Solutions that are no functions of the package, against those, other libraries and definitions."""

from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmguide import ModelConfig, build, perplexity
from llmguide.costs.memory import data_parallel_traffic
from llmguide.costs.scaling_laws import PowerLaw
from llmguide.data.cleaning.dedup import MinHash, candidate_pairs
from llmguide.data.tokens import packing
from llmguide.exercises import exercise
from llmguide.exercises.data.packing import best_fit
from llmguide.exercises.definition import noise
from llmguide.exercises.generation import beam_search, speculative
from llmguide.exercises.nn import flash_attention, grouped_attention, linear_attention
from llmguide.exercises.tokenization import segmentation
from llmguide.exercises.training import gradient_accumulation, gradients, parallelism
from llmguide.generation import beam_search as package_beams
from llmguide.generation.speculative import verify
from llmguide.nn.attention import attention
from llmguide.nn.masks import causal_mask
from llmguide.nn.mixture_of_experts import MixtureOfExperts
from llmguide.training.losses import cross_entropy


def model(**changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 6, "context_length": 12, "n_layers": 1, "d_model": 8, "n_heads": 2}
    built = build(ModelConfig(**sizes | changes)).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.mul_(5)  # far from the uniform distribution
    return built


# ---- tokens ----------------------------------------------------------------------------------------------


def test_wordpiece_is_that_of_tokenizers():
    models = pytest.importorskip("tokenizers.models")
    random = Random(0)
    parts = {"".join(random.choices("abc", k=random.randrange(1, 4))) for _ in range(12)}
    vocabulary = sorted(parts | {f"##{part}" for part in parts if random.random() < 0.7})
    peer = models.WordPiece({token: i for i, token in enumerate(["[UNK]", *vocabulary])}, unk_token="[UNK]")
    for _ in range(100):
        word = "".join(random.choices("abc", k=random.randrange(1, 9)))
        expected = [token.value for token in peer.tokenize(word)]
        assert segmentation.wordpiece(word, frozenset(vocabulary)) == expected


def test_unigram_is_that_of_tokenizers():
    models = pytest.importorskip("tokenizers.models")
    random = Random(0)
    tokens = sorted({"".join(random.choices("ab", k=random.randrange(1, 5))) for _ in range(20)} | {"a", "b"})
    logprobs = {token: -random.uniform(1, 3) * len(token) ** 0.5 for token in tokens}
    peer = models.Unigram([("<unk>", 0.0), *logprobs.items()], unk_id=0)
    for _ in range(50):
        word = "".join(random.choices("ab", k=random.randrange(1, 12)))
        assert segmentation.unigram(word, logprobs) == [token.value for token in peer.tokenize(word)]


# ---- decoding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_beams", [1, 2, 4])
def test_beam_search_is_that_of_the_package(n_beams):
    language_model, end = model(), 5
    names = ["0", "1", "2", "3", "4", "."]

    def next_logprobs(text):
        ids = torch.tensor([[0, *map(names.index, text)]])
        with torch.inference_mode():
            return dict(zip(names, language_model(ids)[0, -1].log_softmax(-1).tolist(), strict=True))

    expected = package_beams.beam_search(
        language_model, torch.tensor([[0]]), 5, n_beams=n_beams, length_penalty=0.0, eos_id=end
    )
    found = beam_search.beam_search(next_logprobs, n_beams, 5, 0.0)
    wanted = expected[0, 1:].tolist()
    if end in wanted:
        wanted = wanted[: wanted.index(end) + 1]
    assert list(map(names.index, found)) == wanted


def test_speculative_decoding_accepts_what_the_package_accepts():
    q, p = (noise(seed, 5, 4).softmax(-1) for seed in (0, 1))
    for seed in range(20):
        drafted = torch.multinomial(q[:4], 1, generator=torch.Generator().manual_seed(seed))[:, 0]
        n_accepted, _ = verify(drafted, q[:4], p, torch.Generator().manual_seed(seed))
        uniforms = torch.rand(4, generator=torch.Generator().manual_seed(seed)).tolist()
        found = speculative.speculative(drafted.tolist(), q[:4], p, [*uniforms, 0.5])
        assert len(found) == n_accepted + 1


def test_speculative_decoding_samples_as_the_large_model():
    q, p = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    grid, counts = [(i + 0.5) / 40 for i in range(40)], Counter()
    for token in range(3):
        for uniform in grid:
            for last in grid:
                sampled = speculative.speculative([token], q, p, [uniform, last])
                counts[sampled[0]] += float(q[0, token]) / 1600
    assert [counts[token] for token in range(3)] == pytest.approx(p[0].tolist(), abs=0.02)


@pytest.mark.parametrize(("context", "stride"), [(4, 1), (4, 3), (7, 4), (12, 5)])
def test_perplexity_is_that_of_the_package(context, stride):
    language_model, ids = model(), torch.randint(6, (20,), generator=torch.Generator().manual_seed(0))

    def score(window):
        with torch.inference_mode():
            logprobs = language_model(torch.tensor([window[:-1]]))[0].log_softmax(-1)
        return [float(row[token]) for row, token in zip(logprobs, window[1:], strict=True)]

    found = exercise("sliding-perplexity").solution(score, ids.tolist(), context + 1, stride)
    assert found == pytest.approx(perplexity(language_model, ids, context=context, stride=stride), rel=1e-5)


# ---- layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 4, 10, 20])
def test_flash_attention_is_attention(block):
    q, k, v = noise(0, 10, 4), noise(1, 10, 4), noise(2, 10, 4)
    expected, _ = attention(q, k, v, causal_mask(10))
    torch.testing.assert_close(flash_attention.flash_attention(q, k, v, block), expected)


def test_grouped_decoding_is_that_of_the_package():
    q, k, v, lengths = noise(0, 3, 6, 4), noise(1, 3, 2, 5, 4), noise(2, 3, 2, 5, 4), torch.tensor([5, 1, 3])
    mask = torch.arange(5) < lengths[:, None, None, None]
    expected, _ = attention(q[:, :, None], k, v, mask)
    torch.testing.assert_close(grouped_attention.grouped_decode(q, k, v, lengths), expected[:, :, 0])


@pytest.mark.parametrize("chunk", [1, 3, 9])
def test_linear_attention_in_chunks_is_its_definition(chunk):
    q, k, v = noise(0, 9, 3), noise(1, 9, 3), noise(2, 9, 2)
    weights = ((F.elu(q) + 1) @ (F.elu(k) + 1).T).tril()
    expected = weights / weights.sum(-1, keepdim=True) @ v
    torch.testing.assert_close(linear_attention.linear_attention(q, k, v, chunk), expected)


def test_mixture_is_that_of_the_package():
    sizes = {"vocab_size": 5, "context_length": 4, "n_layers": 1, "d_model": 6, "n_heads": 2, "d_ff": 8}
    layer = MixtureOfExperts(ModelConfig(**sizes, n_experts=4, n_experts_per_token=2))
    x = noise(0, 10, 6)
    with torch.no_grad():
        found = exercise("mixture").solution(x, layer.router.weight, list(layer.experts), 2)
        torch.testing.assert_close(found, layer(x))


# ---- training --------------------------------------------------------------------------------------------


def test_gradient_of_the_loss_is_that_of_autograd():
    logits = noise(0, 6, 5).requires_grad_()
    targets = torch.tensor([4, -100, 0, 1, -100, 1])
    cross_entropy(logits, targets).backward()
    torch.testing.assert_close(gradients.loss_gradient(logits.detach(), targets), logits.grad)


def test_gradient_of_micro_batches_is_that_of_the_whole_batch():
    weight, x = noise(1, 5, 3).requires_grad_(), noise(2, 9, 3)
    targets = torch.tensor([4, -100, 0, 1, -100, 1, 2, 3, -100])
    cross_entropy(x @ weight.T, targets).backward()
    batches = list(zip(x.split([5, 1, 3]), targets.split([5, 1, 3]), strict=True))
    torch.testing.assert_close(
        gradient_accumulation.accumulated_gradient(weight.detach(), batches), weight.grad
    )


def test_packing_leaves_the_space_that_the_package_leaves():
    random = Random(0)
    for _ in range(50):
        sizes = [random.randrange(1, 12) for _ in range(random.randrange(1, 30))]
        expected = Counter()
        for size, row in zip(sizes, packing.best_fit(np.array(sizes), 11).tolist(), strict=True):
            expected[row] += size
        rows = best_fit(sizes, 11)
        assert sorted(sum(sizes[i] for i in row) for row in rows) == sorted(expected.values())
        assert sorted(i for row in rows for i in row) == list(range(len(sizes)))


def test_near_duplicates_are_the_candidates_of_the_package():
    random = Random(0)
    words = random.choices("abcdefgh", k=40)
    texts = [
        " ".join(random.choice("xyz") if random.random() < rate else word for word in words)
        for rate in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    ]
    minhash = MinHash(bands=8, rows=2, n=2)
    signatures = [minhash(text).tolist() for text in texts]
    expected = list(candidate_pairs(texts, minhash))
    assert exercise("near-duplicates").solution(signatures, 2) == expected
    assert 0 < len(expected) < 21


@pytest.mark.parametrize("P", [1, 2, 6])
def test_a_ring_sends_what_the_memory_module_counts(P):
    n_sent = []

    def exchange(messages):
        n_sent.append(1)
        return [messages[-1], *messages[:-1]]

    chunks = [[P * i + j for j in range(P)] for i in range(P)]
    assert (
        parallelism.all_reduce(chunks, exchange)
        == [[sum(column) for column in zip(*chunks, strict=True)]] * P
    )
    assert len(n_sent) == data_parallel_traffic(P, n_devices=P, bytes_per_value=1)


@pytest.mark.parametrize(("n_stages", "n_batches"), [(1, 3), (4, 4), (8, 16)])
def test_a_pipeline_of_equal_stages_has_the_bubble_of_the_formula(n_stages, n_batches):
    total, idle = parallelism.pipeline([(1.0, 2.0)] * n_stages, n_batches)
    assert total == pytest.approx(3 * (n_batches + n_stages - 1))
    assert idle == pytest.approx((n_stages - 1) / (n_batches + n_stages - 1))


def test_stages_of_zero_are_those_of_the_paper():
    """Figure 1 of arXiv:1910.02054: 120, 31.4, 16.6 and 1.9 GB for 7.5 billion parameters on 64 devices."""
    found = [exercise("zero-stage").solution(7.5e9, 64, gb * 1e9) for gb in (120, 31.5, 31.4, 16.7, 1.9, 1.8)]
    assert found == [0, 1, 2, 2, 3, None]


def test_a_law_without_noise_is_found():
    law, sizes = PowerLaw(scale=1e13, exponent=0.076), [1e6, 3e7, 1e8]
    losses = [1.5 + law(size) for size in sizes]
    assert exercise("fit-law").solution(sizes, losses, 1.5, 1e12) == pytest.approx(1.5 + law(1e12))


def test_the_optimum_of_a_law_has_the_lowest_loss():
    law = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}

    def loss(n_params, n_tokens):
        return law["E"] + law["A"] / n_params ** law["alpha"] + law["B"] / n_tokens ** law["beta"]

    n_params, n_tokens = exercise("compute-optimal").solution(1e22, law)
    assert 6 * n_params * n_tokens == pytest.approx(1e22)
    losses = [loss(n_params * factor, n_tokens / factor) for factor in (0.98, 0.99, 1, 1.01, 1.02)]
    assert all(a > b for a, b in pairwise(losses[:3]))
    assert all(a < b for a, b in pairwise(losses[2:]))
