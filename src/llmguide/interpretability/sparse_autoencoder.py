r"""Sparse autoencoders: write activation vectors as sums of a few directions out of many.

A TopK sparse autoencoder keeps the k largest of F features and reconstructs the vector from them,

$$f(x) = \operatorname{ReLU}(\operatorname{TopK}(W_{enc}(x - b))), \qquad \hat{x} = W_{dec} f(x) + b,$$

where the columns of $W_{dec}$ have unit norm. The loss is the mean of $\lVert x - \hat{x} \rVert^2$.

References: Gao et al. 2024, arXiv:2406.04093, section 2.3 (TopK); Bricken et al. 2023, "Towards
monosemanticity" (unit norm, resampling of dead features, fraction of the loss recovered).

Glossary: ``N`` vectors, ``D`` model width, ``F`` features, ``k`` features kept for a vector.

Leaves out: the auxiliary loss with which Gao et al. revive dead features (they are resampled here), and
resetting the optimizer's moments of a resampled feature.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmguide.interpretability.hooks import edit_input, residual_sites
from llmguide.models.transformer_decoder import TransformerDecoder
from llmguide.training.losses import next_token_loss


class SparseAutoencoder(nn.Module):
    """TopK sparse autoencoder.

    Attributes:
        encoder: One row per feature, whose dot product with a centered vector is the pre-activation (F, D).
        decoder: One direction of unit norm per feature (F, D).
        bias: Vector subtracted before encoding and added after decoding (D).

    >>> from llmguide import SparseAutoencoder
    >>> sae = SparseAutoencoder(2, 3, k=1)
    >>> with torch.no_grad():
    ...     _ = sae.encoder.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    ...     _ = sae.decoder.copy_(sae.encoder)
    >>> x = torch.tensor([[0.5, 3.0]])
    >>> sae.encode(x).tolist(), sae(x).tolist()
    ([[0.0, 3.0, 0.0]], [[0.0, 3.0]])
    """

    def __init__(
        self, d_model: int, n_features: int, *, k: int, generator: torch.Generator | None = None
    ) -> None:
        """Initialize decoder directions at random and the encoder as their transpose."""
        super().__init__()
        if not 1 <= k <= n_features:
            raise ValueError(f"k is {k}: it must be from 1 to n_features, {n_features}")
        self.k = k
        device = None if generator is None else generator.device
        directions = torch.randn(n_features, d_model, generator=generator, device=device)
        directions = F.normalize(directions, dim=-1)
        self.decoder = nn.Parameter(directions)
        self.encoder = nn.Parameter(directions.clone())
        self.bias = nn.Parameter(directions.new_zeros(d_model))

    def encode(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch F"]:
        """Compute the features, of which at most k are positive and the others 0."""
        pre_activations = (x - self.bias) @ self.encoder.T
        values, indices = pre_activations.topk(self.k, dim=-1)
        return torch.zeros_like(pre_activations).scatter(-1, indices, values.relu())

    def decode(self, features: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch D"]:
        """Sum the decoder directions, weighted by the features, and add the bias."""
        return features @ self.decoder + self.bias

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Encode vectors and reconstruct them."""
        return self.decode(self.encode(x))

    def loss(self, x: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
        """Average the squared distance between vectors and reconstructions."""
        errors: Tensor = x - self(x)
        return errors.square().sum(dim=-1).mean()


def train_sae(
    x: Float[Tensor, "N D"],
    n_features: int,
    *,
    k: int,
    n_steps: int,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
    resample_every: int = 50,
    seed: int = 0,
) -> SparseAutoencoder:
    """Train a sparse autoencoder with Adam on activation vectors.

    Features that were 0 since the last check restart from badly reconstructed vectors, in the first half of
    the training. The learning rate falls to 0 in the second half.

    Args:
        x: Activation vectors.
        n_features: Size F of the dictionary.
        k: Features kept for a vector.
        n_steps: Optimizer steps.
        batch_size: Vectors per step, sampled with replacement.
        learning_rate: Learning rate of the first half.
        resample_every: Steps between two checks for dead features.
        seed: Seed of the random generator.

    Returns:
        The autoencoder, on the device of `x`.

    >>> from llmguide import train_sae
    >>> x = torch.eye(2).repeat(8, 1)
    >>> sae = train_sae(x, 4, k=1, n_steps=100, batch_size=16)
    >>> sae.loss(x).item() < 0.01
    True
    """
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(x.shape[1], n_features, k=k, generator=generator).to(x.device)
    with torch.no_grad():
        sae.bias.copy_(x.mean(dim=0))
    optimizer = torch.optim.Adam(sae.parameters(), lr=learning_rate)
    is_dead = torch.ones(n_features, dtype=torch.bool, device=x.device)
    for step in range(1, n_steps + 1):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, 2 * (1 - step / n_steps))
        batch = x[torch.randint(len(x), (batch_size,), generator=generator, device=generator.device)]
        features = sae.encode(batch)
        errors = batch - sae.decode(features)
        optimizer.zero_grad()
        errors.square().sum(dim=-1).mean().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        with torch.no_grad():
            sae.decoder.copy_(F.normalize(sae.decoder, dim=-1))
            is_dead &= (features == 0).all(dim=0)
            if step % resample_every == 0:
                if step <= n_steps // 2:
                    _resample(sae, is_dead, errors, generator)
                is_dead.fill_(True)
    return sae.requires_grad_(False)


def _resample(
    sae: SparseAutoencoder, is_dead: Tensor, errors: Float[Tensor, "N D"], generator: torch.Generator
) -> None:
    """Point dead features at errors, sampled in proportion to their squared norm."""
    dead, squares = is_dead.nonzero()[:, 0], errors.square().sum(dim=-1)
    if len(dead) and squares.sum() > 0:
        squares = squares.to(generator.device)
        chosen = torch.multinomial(squares, len(dead), replacement=True, generator=generator)
        sae.decoder[dead] = sae.encoder[dead] = F.normalize(errors[chosen], dim=-1)


@dataclass(frozen=True)
class SAEMetrics:
    """Quality of a sparse autoencoder on a set of vectors.

    Attributes:
        l0: Mean number of nonzero features per vector.
        variance_explained: 1 minus squared error over variance, 1 for perfect reconstruction.
        dead_fraction: Fraction of the features that are 0 on all vectors.
    """

    l0: float
    variance_explained: float
    dead_fraction: float


@torch.no_grad()
def sae_metrics(sae: SparseAutoencoder, x: Float[Tensor, "N D"]) -> SAEMetrics:
    """Measure sparsity, reconstruction and dead features on held-out vectors."""
    features = sae.encode(x)
    active = features > 0
    error = (x - sae.decode(features)).square().sum()
    variance = (x - x.mean(dim=0)).square().sum()
    return SAEMetrics(
        l0=active.sum(dim=-1).float().mean().item(),
        variance_explained=1 - (error / variance).item(),
        dead_fraction=1 - active.any(dim=0).float().mean().item(),
    )


@torch.no_grad()
def loss_recovered(
    model: TransformerDecoder, sae: SparseAutoencoder, ids: Int[Tensor, "B T"], *, layer: int
) -> float:
    r"""Compute how much of the model's loss survives when reconstructions replace the residual stream.

    $$\frac{L_\text{zero} - L_\text{reconstruction}}{L_\text{zero} - L_\text{model}}$$

    Args:
        model: The decoder.
        sae: Autoencoder of its residual stream after ``layer`` blocks.
        ids: Texts on which the loss is computed.
        layer: Blocks that have run.

    Returns:
        1 if the loss does not change, 0 if it is that of a stream replaced by zeros.
    """
    site = residual_sites(model)[layer]
    whole = next_token_loss(model, ids)
    with edit_input(site, torch.zeros_like):
        zero = next_token_loss(model, ids)
    with edit_input(site, sae):
        reconstructed = next_token_loss(model, ids)
    return ((zero - reconstructed) / (zero - whole)).item()


def top_examples(
    sae: SparseAutoencoder, x: Float[Tensor, "N D"], feature: int, *, n: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Find the vectors on which a feature is largest.

    Returns:
        Its values in descending order, and the indices of the vectors.
    """
    values, indices = sae.encode(x)[:, feature].topk(n)
    return values, indices
