import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.sparse_autoencoder import (
    SparseAutoencoder,
    loss_recovered,
    sae_metrics,
    top_examples,
    train_sae,
)
from tests.interpretability.peers import IDS, logits, pair
from tests.parity import assert_parity
from tests.seed import SEED


def random_sae(d_model=7, n_features=19, k=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(d_model, n_features, k=k, generator=generator).requires_grad_(False)
    sae.encoder.copy_(torch.randn(n_features, d_model, generator=generator))
    sae.bias.copy_(torch.randn(d_model, generator=generator))
    return sae


def derived(sae, x):
    """Features and reconstructions by sorting in numpy, one vector and one feature at a time."""
    encoder, decoder, bias = (
        p.detach().numpy().astype(np.float64) for p in (sae.encoder, sae.decoder, sae.bias)
    )
    features = np.zeros((len(x), len(encoder)))
    reconstructions = np.tile(bias, (len(x), 1))
    for i, vector in enumerate(x.numpy().astype(np.float64)):
        scores = [float(row @ vector - row @ bias) for row in encoder]
        for j in sorted(range(len(scores)), key=scores.__getitem__)[-sae.k :]:
            if scores[j] > 0:
                features[i, j] = scores[j]
                reconstructions[i] += scores[j] * decoder[j]
    return features, reconstructions


@pytest.mark.parametrize("seed", range(3))
def test_features_and_loss_are_those_of_a_derivation_in_numpy(seed):
    sae = random_sae(k=(3, 19, 1)[seed], seed=seed)
    x = torch.randn(50, 7, generator=torch.Generator().manual_seed(seed))
    features, reconstructions = derived(sae, x)
    loss = sum(((v - r) ** 2).sum() for v, r in zip(x.numpy(), reconstructions, strict=True)) / 50
    np.testing.assert_allclose(sae.encode(x), features, atol=1e-4, rtol=0)
    np.testing.assert_allclose(sae(x), reconstructions, atol=1e-4, rtol=0)
    np.testing.assert_allclose(sae.loss(x), loss, atol=1e-4, rtol=0)


def test_metrics_are_counted_one_vector_at_a_time():
    sae, x = random_sae(k=2), torch.randn(11, 7, generator=torch.Generator().manual_seed(1))
    features, reconstructions = derived(sae, x)
    metrics = sae_metrics(sae, x)
    explained = 1 - ((x.numpy() - reconstructions) ** 2).sum() / (11 * x.numpy().var(axis=0).sum())
    dead = sum(not column.any() for column in features.T) / 19
    assert dead > 0
    ours = [metrics.l0, metrics.variance_explained, metrics.dead_fraction]
    np.testing.assert_allclose(ours, [np.count_nonzero(features) / 11, explained, dead], atol=1e-4, rtol=0)


def test_a_step_keeps_decoder_directions_at_unit_norm():
    sae = train_sae(torch.randn(64, 5), 12, k=2, n_steps=7)
    torch.testing.assert_close(sae.decoder.norm(dim=-1), torch.ones(12))


def pentagon(seed):
    """Vectors of 5 sparse features in 2 dimensions, and the directions of the features."""
    generator = torch.Generator().manual_seed(seed)
    angles = 2 * math.pi / 5 * torch.arange(5)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    active = torch.rand(4096, 5, generator=generator) < 0.03
    return (active * torch.rand(4096, 5, generator=generator)) @ directions, directions


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_training_recovers_more_features_than_dimensions(seed):
    x, directions = pentagon(seed)
    sae = train_sae(x, 10, k=1, n_steps=800, batch_size=128, seed=seed)
    best, features = (directions @ sae.decoder.T).max(dim=1)
    assert best.min() > 0.97  # random directions: below 0.9 in most runs
    assert len(set(features.tolist())) == 5
    assert sae_metrics(sae, x).variance_explained > 0.95


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_dead_features_restart_where_the_reconstruction_fails(seed):
    x = torch.eye(32)
    without, resampled = (
        train_sae(x, 48, k=1, n_steps=400, batch_size=64, resample_every=n, seed=seed).loss(x).item()
        for n in (401, 20)
    )
    assert resampled < without / 4  # without, some vectors share a feature while others are dead


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_recovered_loss_is_that_of_hooks_on_transformers(name):
    models = pair(name)
    sae = random_sae(d_model=models.ours.config.d_model, n_features=40, k=8)

    def loss(replace):
        handle = models.layers[1].register_forward_pre_hook(lambda _, args: (replace(args[0]), *args[1:]))
        out = logits(models.peer)
        handle.remove()
        return F.cross_entropy(out[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).item()

    def reconstruct(x):
        _, vectors = derived(sae, x.flatten(0, 1))
        return torch.tensor(vectors, dtype=torch.float32).view(x.shape)

    zero, whole = loss(torch.zeros_like), loss(lambda x: x)
    expected = (zero - loss(reconstruct)) / (zero - whole)
    ours = loss_recovered(models.ours, sae, IDS, layer=1)
    of = "llmguide.interpretability.sparse_autoencoder.loss_recovered"
    assert_parity(ours, expected, of=of, against="transformers.PreTrainedModel", atol=1e-4)


def test_a_perfect_autoencoder_recovers_the_loss():
    model = pair("gpt2").ours
    D = model.config.d_model
    sae = SparseAutoencoder(D, 2 * D, k=2 * D).requires_grad_(False)
    for weight in (sae.encoder, sae.decoder):  # a direction and its opposite for each dimension
        weight.copy_(torch.cat([torch.eye(D), -torch.eye(D)]))
    residual = record_activations(model, IDS).residual[1]
    torch.testing.assert_close(sae(residual), residual)
    assert loss_recovered(model, sae, IDS, layer=1) == pytest.approx(1, abs=1e-5)


def test_top_examples_are_the_largest_values_of_one_feature():
    sae = SparseAutoencoder(2, 2, k=1).requires_grad_(False)
    sae.encoder.copy_(torch.eye(2))
    x = torch.tensor([[1.0, 0.0], [5.0, 9.0], [3.0, 2.0], [2.0, 1.0]])  # row 1 is feature 1's
    values, indices = top_examples(sae, x, 0, n=3)
    assert values.tolist() == [3, 2, 1]
    assert indices.tolist() == [2, 3, 0]


@pytest.mark.parametrize("k", [0, 4])
def test_k_must_fit_the_dictionary(k):
    with pytest.raises(ValueError, match=rf"k is {k}: it must be from 1 to n_features, 3"):
        SparseAutoencoder(2, 3, k=k)


def test_an_autoencoder_is_trained_on_the_device_of_its_vectors():
    x = torch.eye(3).repeat(8, 1)
    expected = train_sae(x, 6, k=1, n_steps=8, batch_size=16, resample_every=2)
    with torch.device("meta"):  # the default device, where nothing can be computed
        sae = train_sae(x, 6, k=1, n_steps=8, batch_size=16, resample_every=2)
    assert torch.equal(sae(x), expected(x))
