import pytest
import torch

from llmguide.config.model_config import ModelConfig
from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.attribution import component_names, direct_logit_attribution
from llmguide.interpretability.induction_circuit import induction_circuit
from llmguide.interpretability.logit_lens import logit_lens
from llmguide.models import build, from_hf
from tests.interpretability.peers import IDS, NAMES, logits, pair, seen
from tests.models.tiny import DECODERS, hf_model
from tests.parity import assert_parity

OURS = "llmguide.interpretability."


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_activations_are_those_of_transformers(name):
    models = pair(name)
    activations = record_activations(models.ours, IDS)
    with torch.no_grad():
        outputs = models.peer(IDS, output_attentions=True, output_hidden_states=True)
    hidden = [*outputs.hidden_states[:-1], seen(models.norm, models.peer, at="input")]
    parts = {
        "residual": torch.stack(hidden),
        "patterns": torch.stack(outputs.attentions),
        "head_outputs": torch.stack([seen(m, models.peer, at="input") for m in models.o_proj]),
        "attention_outputs": torch.stack([seen(m, models.peer, at="output") for m in models.attention]),
        "feed_forward_outputs": torch.stack([seen(m, models.peer, at="output") for m in models.mlp]),
        "logits": outputs.logits,
    }
    for part, expected in parts.items():
        ours = getattr(activations, part).reshape(expected.shape)
        of = f"{OURS}activations.record_activations"
        assert_parity(ours, expected, of=of, against="transformers.PreTrainedModel", atol=1e-4)


def test_recording_leaves_the_model_as_it_was():
    model = pair("llama").ours
    before = model(IDS)
    record_activations(model, IDS)
    assert torch.equal(model(IDS), before)


@pytest.mark.parametrize("name", ["gpt2", "bloom", "mistral", "mixtral", "qwen3"])
def test_the_residual_stream_is_the_sum_of_all_outputs(name):
    activations = record_activations(from_hf(hf_model(name)).eval(), IDS)
    added = activations.attention_outputs + activations.feed_forward_outputs
    total = activations.residual[0] + added.sum(dim=0)
    torch.testing.assert_close(total, activations.residual[-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        activations.patterns.sum(dim=-1), torch.ones(2, 2, activations.patterns.shape[2], 9)
    )


def test_active_dropout_is_refused():
    config = ModelConfig(vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3, dropout=0.1)
    with pytest.raises(ValueError, match=r"dropout=0\.1 is active"):
        record_activations(build(config), torch.tensor([[1, 2]]))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_the_lens_is_the_head_of_transformers_on_each_hidden_state(name):
    models = pair(name)
    lens = logit_lens(models.ours, record_activations(models.ours, IDS))
    with torch.no_grad():
        hidden = models.peer(IDS, output_hidden_states=True).hidden_states[:-1]
        expected = [models.peer.lm_head(models.norm(x)) for x in hidden] + [logits(models.peer)]
    of = f"{OURS}logit_lens.logit_lens"
    assert_parity(lens, torch.stack(expected), of=of, against="transformers.PreTrainedModel", atol=1e-4)


def contributions(models, target_ids):
    """Push each component of transformers through the final norm with its scale frozen, in float64."""
    norm, rows = models.norm, models.peer.lm_head.weight.double()[target_ids]
    is_layer_norm = isinstance(norm, torch.nn.LayerNorm)
    eps = norm.eps if is_layer_norm else norm.variance_epsilon
    last = seen(norm, models.peer, at="input").double()
    center = (lambda x: x - x.mean(-1, keepdim=True)) if is_layer_norm else (lambda x: x)
    scale = (center(last).pow(2).mean(-1, keepdim=True) + eps).sqrt()

    def through(x):
        return (center(x.double()) / scale * norm.weight.double() * rows).sum(-1)

    H = models.ours.config.n_heads
    parts = [through(seen(models.layers[0], models.peer, at="input"))]
    for o_proj, mlp in zip(models.o_proj, models.mlp, strict=True):
        weight = o_proj.weight.T if isinstance(o_proj, torch.nn.Linear) else o_proj.weight  # (H E, D)
        z = seen(o_proj, models.peer, at="input")
        for z_head, w_head in zip(z.chunk(H, -1), weight.chunk(H, 0), strict=True):
            parts.append(through(z_head @ w_head))
        if o_proj.bias is not None:
            parts.append(through(o_proj.bias))
        parts.append(through(seen(mlp, models.peer, at="output")))
    if is_layer_norm:
        parts.append((norm.bias.double() * rows).sum(-1))
    return torch.stack(parts)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_attribution_is_each_component_through_the_frozen_norm(name):
    models = pair(name)
    ours = direct_logit_attribution(models.ours, record_activations(models.ours, IDS), IDS.flip(1))
    expected = contributions(models, IDS.flip(1))
    assert len(component_names(models.ours)) == len(expected)
    of = f"{OURS}attribution.direct_logit_attribution"
    assert_parity(ours, expected, of=of, against="transformers.PreTrainedModel", atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_contributions_sum_to_the_logit(name):
    model = from_hf(hf_model(name)).eval()
    activations, targets = record_activations(model, IDS), IDS.roll(-1, dims=1)
    total = direct_logit_attribution(model, activations, targets).sum(dim=0)
    expected = activations.logits.gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(total, expected, atol=1e-4, rtol=0)


def test_a_post_norm_model_has_no_attribution():
    config = ModelConfig(
        vocab_size=11, context_length=8, n_layers=1, d_model=12, n_heads=3, norm_position="post"
    )
    model, ids = build(config).eval(), torch.tensor([[1, 2]])
    with pytest.raises(ValueError, match='needs norm_position="pre"'):
        direct_logit_attribution(model, record_activations(model, ids), ids)


def test_only_the_induction_head_writes_the_prediction_of_the_circuit():
    model = induction_circuit(16, 12)
    ids = torch.tensor([[3, 1, 4, 15, 9, 3]])
    parts = direct_logit_attribution(model, record_activations(model, ids), torch.full_like(ids, 1))[:, 0, -1]
    by_name = dict(zip(component_names(model), parts.tolist(), strict=True))
    assert by_name.pop("L1H0") > 0.5
    assert set(by_name.values()) == {0.0}
