from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F

from llmguide.generation.generate import generate
from llmguide.interpretability.ablation import ablate_heads, head_effects, sublayer_effects
from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.head_scores import repeated_random_tokens
from llmguide.interpretability.induction_circuit import induction_circuit
from llmguide.interpretability.patching import patch_residual
from llmguide.interpretability.steering import steer, steering_vector
from tests.interpretability.peers import IDS, NAMES, logits, pair, seen
from tests.parity import assert_parity

OURS, PEER = "llmguide.interpretability.", "transformers.PreTrainedModel"


@contextmanager
def replaced_input(module, replace):
    """Replace the first argument of a module of transformers."""
    handle = module.register_forward_pre_hook(lambda _, args: (replace(args[0]), *args[1:]))
    yield
    handle.remove()


def loss(out):
    return F.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_ablated_heads_are_columns_of_the_output_projection(name):
    models = pair(name)
    E, H = models.ours.config.head_dim, models.ours.config.n_heads
    means = record_activations(models.ours, IDS).head_outputs.mean(dim=(1, 2))

    def without(layer, head, value):
        def replace(x):
            return torch.cat(
                [x[..., : head * E], value.expand(*x.shape[:-1], E), x[..., (head + 1) * E :]], -1
            )

        with replaced_input(models.o_proj[layer], replace):
            return logits(models.peer)

    with ablate_heads(models.ours, [(1, H - 1)], means=means), torch.no_grad():
        of = f"{OURS}ablation.ablate_heads"
        assert_parity(models.ours(IDS), without(1, H - 1, means[1, H - 1]), of=of, against=PEER, atol=1e-4)
    expected = [
        [loss(without(i, h, torch.zeros(1))) - loss(logits(models.peer)) for h in range(H)] for i in (0, 1)
    ]
    effects = head_effects(models.ours, IDS, loss)
    assert_parity(effects, expected, of=f"{OURS}ablation.head_effects", against=PEER, atol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_a_sublayer_without_output_is_a_layer_without_it(name):
    models = pair(name)
    expected = []
    for attention, mlp in zip(models.attention, models.mlp, strict=True):
        handle = attention.register_forward_hook(lambda _, args, out: (torch.zeros_like(out[0]), *out[1:]))
        without_attention = loss(logits(models.peer))
        handle.remove()
        handle = mlp.register_forward_hook(lambda _, args, out: torch.zeros_like(out))
        expected.append([without_attention, loss(logits(models.peer))])
        handle.remove()
    effects = sublayer_effects(models.ours, IDS, loss)
    whole = loss(logits(models.peer))
    of = f"{OURS}ablation.sublayer_effects"
    assert_parity(effects, torch.tensor(expected) - whole, of=of, against=PEER, atol=1e-4)


def test_ablation_ends_with_its_context_even_after_an_error():
    model = pair("gpt2").ours
    before = model(IDS)
    with pytest.raises(ValueError, match="outside"), ablate_heads(model, [(0, 0), (0, 1), (1, 2)]):
        model(IDS + 53)
    with ablate_heads(model, [(1, 2)]):
        assert not torch.equal(model(IDS), before)
    assert torch.equal(model(IDS), before)


def test_both_heads_of_the_circuit_are_needed_and_no_other():
    model = induction_circuit(200, 24)
    ids = repeated_random_tokens(200, 12, 20)

    def accuracy(out):
        return (out[:, 12:-1].argmax(dim=-1) == ids[:, 13:]).float().mean()

    assert accuracy(model(ids)) > 0.9
    effects = head_effects(model, ids, accuracy)
    assert (effects[:, 0] < -0.8).all()
    assert (effects[:, 1] == 0).all()


CLEAN, CORRUPTED = IDS[:1], torch.where(torch.arange(9) == 4, (IDS[:1] + 1) % 53, IDS[:1])


def difference(out):
    return out[0, -1, 11] - out[0, -1, 23]


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_patching_restores_what_hooks_on_transformers_restore(name):
    models = pair(name)
    sites = [*models.layers, models.norm]
    clean, corrupted = difference(logits(models.peer, CLEAN)), difference(logits(models.peer, CORRUPTED))
    expected = torch.zeros(3, 9)
    for layer, site in enumerate(sites):
        source = seen(site, models.peer, at="input", ids=CLEAN)
        for position in range(9):
            here = torch.arange(9)[:, None] == position
            with replaced_input(site, lambda x, source=source, here=here: torch.where(here, source, x)):
                patched = difference(logits(models.peer, CORRUPTED))
            expected[layer, position] = (patched - corrupted) / (clean - corrupted)
    restored = patch_residual(models.ours, CLEAN, CORRUPTED, difference)
    assert_parity(restored, expected, of=f"{OURS}patching.patch_residual", against=PEER, atol=1e-4)
    assert restored[0, 4] == pytest.approx(1, abs=1e-4)  # the only token that differs
    assert restored[:, :4].abs().max() < 1e-4  # earlier tokens are the same in both runs


def test_patching_finds_where_the_circuit_keeps_the_answer():
    model = induction_circuit(16, 12)
    clean, corrupted = torch.tensor([[3, 1, 4, 15, 9, 3]]), torch.tensor([[3, 2, 4, 15, 9, 3]])
    restored = patch_residual(model, clean, corrupted, lambda out: out[0, -1, 1] - out[0, -1, 2])
    expected = torch.zeros(3, 6)
    expected[:2, 1] = 1  # until layer 1 has run, the answer is at position 1
    expected[2, 5] = 1
    torch.testing.assert_close(restored, expected, atol=1e-4, rtol=0)


def test_patching_some_layers_and_positions_gives_these_rows_and_columns():
    model = pair("gpt2").ours
    everywhere = patch_residual(model, CLEAN, CORRUPTED, difference)
    some = patch_residual(model, CLEAN, CORRUPTED, difference, layers=[2, 0], positions=range(4, 9, 2))
    assert torch.equal(some, everywhere[[2, 0]][:, 4::2])


def test_prompts_that_cannot_be_patched_are_refused():
    model = pair("gpt2").ours
    with pytest.raises(ValueError, match=r"\(1, 9\), corrupted_ids \(1, 8\) must match"):
        patch_residual(model, CLEAN, CORRUPTED[:, :8], difference)
    with pytest.raises(ValueError, match="on both prompts"):
        patch_residual(model, CLEAN, CLEAN, difference)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_steering_adds_a_difference_of_means(name):
    models = pair(name)
    positive, negative = [IDS[0], IDS[1, :5]], [IDS[1], IDS[0, 2:]]
    site = models.layers[1]
    means = [
        torch.stack([seen(site, models.peer, at="input", ids=ids[None])[0, -1] for ids in texts]).mean(dim=0)
        for texts in (positive, negative)
    ]
    vector = steering_vector(models.ours, positive, negative, layer=1)
    of = f"{OURS}steering.steering_vector"
    assert_parity(vector, means[0] - means[1], of=of, against=PEER, atol=1e-4)
    with replaced_input(site, lambda x: x + 2 * (means[0] - means[1])):
        expected = logits(models.peer)
    with steer(models.ours, 2 * vector, layer=1), torch.no_grad():
        assert_parity(models.ours(IDS), expected, of=f"{OURS}steering.steer", against=PEER, atol=1e-4)


def test_each_row_of_a_batch_can_have_its_own_steering_vector():
    model = pair("llama").ours
    vectors = torch.randn(len(IDS), 1, model.config.d_model)
    with steer(model, vectors, layer=1), torch.no_grad():
        together = model(IDS)
    for ids, vector, expected in zip(IDS, vectors, together, strict=True):
        with steer(model, vector[0], layer=1), torch.no_grad():
            torch.testing.assert_close(model(ids[None])[0], expected)


def test_copies_of_a_prompt_are_completed_each_with_its_own_vector():
    model = pair("gpt2").ours
    ids = IDS[:1].repeat(3, 1)
    vectors = 20 * torch.randn(3, 1, model.config.d_model)
    with steer(model, vectors, layer=1):
        completions = generate(model, ids, 6, temperature=0)
    for ids_of_row, vector, completion in zip(ids, vectors, completions, strict=True):
        with steer(model, vector[0], layer=1):
            assert (
                generate(model, ids_of_row[None], 6, temperature=0, use_cache=False)[0].tolist()
                == completion.tolist()
            )
    assert len(set(map(tuple, completions.tolist()))) > 1
