"""Models whose parts a user has replaced: every path computes what their own forward does."""

from math import log

import pytest
import torch
from tests.models.test_models import CONFIGS, lively, tokens
from torch import nn

from llmguide import apply_lora, build, generate, next_token_loss
from llmguide.data.tokens.windows import Batch
from llmguide.evaluation.likelihood import text_logprobs
from llmguide.generation._fast_decoding import decoding_step
from llmguide.generation.steps import CachedSteps, next_logits
from llmguide.post_training.rl.rollout import completion_logprobs, rollout
from llmguide.training.losses import batch_loss


def variant(module, change):
    """Give a module a class of its own, whose forward changes the output."""
    kind = type(module)

    def forward(self, *args, **kwargs):
        return change(kind.forward(self, *args, **kwargs))

    module.__class__ = type(f"Own{kind.__name__}", (kind,), {"forward": forward})


def bind(module, change, method="forward"):
    """Replace a method of one module."""
    original = getattr(module, method)
    setattr(module, method, lambda *args, **kwargs: change(original(*args, **kwargs)))


def negated(out):
    return (-out[0], out[1]) if isinstance(out, tuple) else -0.5 * out


def capped(logits):
    return 2 * (logits / 2).tanh()


class Mean(nn.Module):
    """Attention without weights: the mean of the inputs so far, or of those in the window."""

    def __init__(self, window):
        super().__init__()
        self.window = window

    def forward(self, x, *, cache=None, layer=0, **_):
        v = x[:, None]
        if cache is not None:
            _, v = cache.append(layer, v, v)
        window = self.window or v.shape[2]
        padded = torch.cat((v.new_zeros(len(v), 1, window - 1, v.shape[3]), v), dim=2)
        counts = torch.arange(1, v.shape[2] + 1).clamp(max=window)[:, None]
        return (padded.unfold(2, window, 1).sum(-1) / counts)[:, 0, -x.shape[1] :], None


def biased_head(model):
    V, D = model.config.vocab_size, model.config.d_model
    model.head = nn.Linear(D, V)
    nn.init.normal_(model.head.bias)


def lora(model):
    names = [f"blocks.0.attention.{part}_proj" for part in "qv"] + (
        ["head"] if model.head is not None else []
    )
    apply_lora(model, rank=2, alpha=4, target_modules=names)
    for name, parameter in model.named_parameters():
        if "lora" in name.lower() or name.endswith((".a", ".b", ".A", ".B")):
            nn.init.normal_(parameter, std=0.3)


CHANGES = {
    "attention of another class": lambda model: variant(model.blocks[1].attention, negated),
    "another attention": lambda model: setattr(
        model.blocks[0], "attention", Mean(model.config.sliding_window)
    ),
    "bound attention": lambda model: bind(model.blocks[0].attention, negated),
    "norm of another class": lambda model: variant(model.blocks[0].attention_norm, negated),
    "bound norm": lambda model: bind(model.blocks[1].feed_forward_norm, negated),
    "feed-forward of another class": lambda model: variant(model.blocks[0].feed_forward, negated),
    "bound feed-forward": lambda model: bind(model.blocks[1].feed_forward, negated),
    "another feed-forward": lambda model: setattr(model.blocks[1], "feed_forward", nn.Tanh()),
    "block of another class": lambda model: variant(model.blocks[1], negated),
    "bound block": lambda model: bind(model.blocks[0], negated),
    "bound part of a block": lambda model: bind(model.blocks[0], negated, "feed"),
    "bias in the head": biased_head,
    "bound head": lambda model: biased_head(model) or bind(model.head, capped),
    "bound unembed": lambda model: bind(model, capped, "unembed"),
    "bound embed": lambda model: bind(model, negated, "embed"),
    "hook": lambda model: model.blocks[0].register_forward_hook(lambda *call: -call[-1]) and None,
    "adapters": lora,
}


@pytest.fixture(params=["gpt", "gpt-1", "bloom", "llama", "mistral", "mixtral"])
def model(request):
    return lively(build(CONFIGS[request.param]))


def changed(model, name):
    CHANGES[name](model)
    ids = tokens(2, 9)
    return ids, model(ids)


@pytest.mark.parametrize("name", CHANGES)
def test_cached_steps_give_the_logits_of_the_forward(model, name):
    before = model(tokens(2, 9))
    ids, logits = changed(model, name)
    assert not torch.allclose(logits, before, atol=1e-3)
    steps = CachedSteps(model, rows=2, n_tokens=9, n_steps=6)
    found = torch.stack([steps(ids[:, :n], None) for n in range(3, 10)], dim=1)
    torch.testing.assert_close(found, logits[:, 2:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CHANGES)
def test_sampling_with_a_cache_gives_the_tokens_without(model, name):
    changed(model, name)
    cached, plain = (
        generate(model, tokens(2, 3), 8, use_cache=use, generator=torch.Generator().manual_seed(0))
        for use in (True, False)
    )
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("name", CHANGES)
def test_losses_and_gradients_are_those_of_the_logits(model, name):
    ids, _ = changed(model, name)
    expected = next_token_loss(model, ids, chunked=False)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(expected, weights, allow_unused=True)
    for loss in (next_token_loss(model, ids), batch_loss(model, Batch(ids[:, :-1], ids[:, 1:]))[0]):
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        for found, gradient in zip(
            torch.autograd.grad(loss, weights, allow_unused=True), gradients, strict=True
        ):
            assert (found is None) == (gradient is None)
            if found is not None:
                torch.testing.assert_close(found, gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CHANGES)
def test_likelihoods_are_those_of_the_logits(model, name):
    ids, logits = changed(model, name)
    log_p = logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    torch.testing.assert_close(text_logprobs(model, ids[0]), log_p.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CHANGES)
def test_a_policy_scores_its_samples_as_it_sampled_them(model, name):
    changed(model, name)
    sampled = rollout(model, tokens(2, 3), 6, temperature=0.7, generator=torch.Generator().manual_seed(0))
    logprobs, entropy = completion_logprobs(model, sampled, temperature=0.7)
    log_p = (model(sampled.ids[:, :-1])[:, 2:] / 0.7).log_softmax(-1)
    expected = log_p.gather(2, sampled.ids[:, 3:, None])[..., 0]
    torch.testing.assert_close(logprobs, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logprobs, sampled.logprobs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, -(log_p.exp() * log_p).sum(-1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_that_nobody_changed_takes_the_fast_step(name):
    assert decoding_step(build(CONFIGS[name]).eval()) is not None


def test_dropout_of_an_adapted_head_is_active_in_training():
    model = lively(build(CONFIGS["llama"]))
    apply_lora(model, rank=2, alpha=4, target_modules=["head"], dropout=0.5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    model.train()
    losses = {round(next_token_loss(model, tokens(2, 9)).item(), 4) for _ in range(5)}
    assert len(losses) > 1


def test_a_sampler_may_edit_its_logits():
    def without_zero(logits, text, generator):
        logits[:, 0] = -torch.inf
        return logits.argmax(-1)

    model = lively(build(CONFIGS["gpt"]))
    for use_cache in (True, False):
        assert (generate(model, tokens(3, 2), 8, sampler=without_zero, use_cache=use_cache)[:, 2:] != 0).all()


class Uniform(nn.Module):
    """A decoder of the reader's own, with nothing but what `Decoder` names."""

    def __init__(self):
        super().__init__()
        self.config = CONFIGS["gpt"]
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, ids, *, attention_mask=None):
        return self.unembed(self.hidden(ids, attention_mask=attention_mask))

    def hidden(self, ids, *, attention_mask=None, cache=None):
        if cache is not None:
            for layer in range(self.config.n_layers):
                cache.append(layer, ids[:, None, :, None].float(), ids[:, None, :, None].float())
        return torch.zeros(*ids.shape, 1)

    def unembed(self, hidden):
        return self.scale * hidden.expand(*hidden.shape[:-1], self.config.vocab_size)


def test_a_decoder_of_ones_own_is_scored_and_trained():
    model = Uniform().eval()
    V = model.config.vocab_size
    assert generate(model, tokens(1, 3), 4).shape == (1, 7)
    assert next_token_loss(model, tokens(2, 9)).item() == pytest.approx(log(V))
    torch.testing.assert_close(text_logprobs(model, tokens(9)), torch.full((8,), -log(V)))
    next_token_loss(model, tokens(2, 9)).backward()
    assert model.scale.grad is not None
    assert next_logits(model, tokens(1, 3)).shape == (1, V)
    sampled = rollout(model, tokens(2, 3), 6)
    assert completion_logprobs(model, sampled)[0].shape == (2, 6)
