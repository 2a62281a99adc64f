"""Speculative decoding must leave the distribution of the large model as it is, whatever the draft."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.tiny import V, hf_model

from llmguide.config.model_config import ModelConfig
from llmguide.generation.generate import generate
from llmguide.generation.sampling import Sampler
from llmguide.generation.speculative import speculative_generate, verify
from llmguide.models import build, from_hf


def p_value(counts, expected):
    """Chi-square test; the tail probability is the regularized upper incomplete gamma function."""
    statistic = ((counts - expected).square() / expected).sum()
    return torch.special.gammaincc(torch.tensor((len(counts) - 1) / 2.0), statistic / 2).item()


def tiny(seed, vocab_size=4, **changes):
    config = ModelConfig(
        vocab_size=vocab_size, context_length=32, n_layers=1, d_model=8, n_heads=2, **changes
    )
    torch.manual_seed(seed)
    model = build(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return model


def test_verify_keeps_the_distribution():
    """p = (.6, .3, .1) drafted with q = (.2, .3, .5): 20,000 first tokens follow p; chi-square."""
    q, p = torch.tensor([[0.2, 0.3, 0.5]]), torch.tensor([[0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    generator = torch.Generator().manual_seed(0)
    n = 20_000
    counts = torch.zeros(3)
    kept_total = 0
    for drafted in torch.multinomial(q.expand(n, -1), 1, generator=generator):
        kept, token = verify(drafted, q, p, generator)
        counts[drafted[0] if kept else token] += 1
        kept_total += kept
    assert p_value(counts, n * p[0]) > 0.001
    assert kept_total / n == pytest.approx(
        0.2 + 0.3 + 0.1, abs=0.015
    )  # sum of min(p, q), Leviathan et al., 3.2


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_perfect_draft_is_always_kept(seed):
    torch.manual_seed(seed)
    p = torch.randn(4, 7).softmax(-1)
    drafted = torch.multinomial(p[:3], 1)[:, 0]
    assert verify(drafted, p[:3], p)[0] == 3


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.nightly), {"temperature": 0.7, "top_k": 3}]
)
def test_joint_distribution_of_two_tokens(options):
    """600 speculative texts against the exact product of the model's own probabilities."""
    model, draft, ids = tiny(1), tiny(2), torch.tensor([[0, 3]])
    sampler = Sampler(**options)
    exact = torch.zeros(4, 4)
    with torch.no_grad():
        for a in range(4):
            text = torch.tensor([[0, 3, a]])
            first, second = sampler.filter(model(text)[0, 1:], text.expand(2, -1)).softmax(-1)
            exact[a] = first[a] * second
    counts = torch.zeros(4, 4)
    generator = torch.Generator().manual_seed(5)
    n = 600
    for _ in range(n):
        a, b = speculative_generate(model, draft, ids, 2, n_draft=3, generator=generator, **options)[
            0, 2:
        ].tolist()
        counts[a, b] += 1
    possible = exact > 0
    assert counts[~possible].sum() == 0
    assert p_value(counts[possible], n * exact[possible]) > 0.001


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "mistral", "mixtral"])
@pytest.mark.parametrize("n_draft", [1, 4])
def test_greedy_is_the_greedy_text(name, n_draft):
    model = from_hf(hf_model(name))
    draft = from_hf(hf_model("gpt2", seed=8))
    ids = torch.randint(V, (1, 6), generator=torch.Generator().manual_seed(2))
    for drafter in (draft, model):
        out = speculative_generate(model, drafter, ids, 14, n_draft=n_draft, temperature=0.0)
        assert torch.equal(out, generate(model, ids, 14, temperature=0.0))


def test_ends_where_the_model_ends():
    model, draft = from_hf(hf_model("gpt2")), from_hf(hf_model("gpt2"))
    ids = torch.tensor([[1, 2, 3]])
    whole = generate(model, ids, 20, temperature=0.0)[0].tolist()
    for eos_id in set(whole[3:]):
        out = speculative_generate(model, draft, ids, 20, temperature=0.0, eos_id=eos_id)
        assert out.tolist() == [whole[: whole.index(eos_id, 3) + 1]]


def test_a_good_draft_saves_passes():
    model, ids = tiny(1, vocab_size=11), torch.tensor([[1]])
    passes = []
    original = model.hidden
    model.hidden = lambda *args, **kwargs: passes.append(1) or original(*args, **kwargs)
    speculative_generate(model, tiny(1, vocab_size=11), ids, 20, n_draft=4)
    assert len(passes) == 4  # 20 tokens, 5 a pass: 4 kept and 1 added


@pytest.mark.parametrize("n", range(4))
def test_length(n):
    out = speculative_generate(tiny(1), tiny(2), torch.tensor([[1, 2]]), n)
    assert out.shape == (1, 2 + n)
    assert not out.is_inference()


def test_bad_requests():
    model, ids = tiny(1), torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match="2 prompts"):
        speculative_generate(model, model, ids.repeat(2, 1), 3)
    with pytest.raises(ValueError, match="n_draft=0"):
        speculative_generate(model, model, ids, 3, n_draft=0)
    with pytest.raises(ValueError, match="has 4 tokens and the draft 5"):
        speculative_generate(model, tiny(1, vocab_size=5), ids, 3)
    with pytest.raises(ValueError, match="eos_id=4 is outside the vocabulary, 0 to 3"):
        speculative_generate(model, model, ids, 3, eos_id=4)
    with pytest.raises(ValueError, match="exceed the 32 positions"):
        speculative_generate(model, model, ids, 40)


def test_exact_algebra_of_the_docstring():
    p, q = torch.rand(2, 9, generator=torch.Generator().manual_seed(0)).softmax(-1)
    rest = (p - q).clamp(min=0)
    kept = torch.minimum(p, q)
    torch.testing.assert_close(kept + (1 - kept.sum()) * rest / rest.sum(), p)
