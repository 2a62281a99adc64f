r"""The sizes of a run, and the scaling law that is fitted to their losses.

$$L(C) = L_0 + \left(\frac{C_c}{C}\right)^{\alpha}$$
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import linear_regression

from llmguide.config.model_config import ModelConfig
from llmguide.costs.flops import forward_flops_per_token
from llmguide.costs.scaling_laws import PowerLaw
from llmguide.projects.run import require_at_least_one
from llmguide.projects.training import small_decoder

N_FLOORS = 3000  # values of the irreducible loss tried in a fit


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    corpus: str | None = None  # file, folder or data set of the hub; None: the packaged speeches
    vocab_size: int = 1024  # token ids of the tokenizer
    n_layers: tuple[int, ...] = (2, 2, 2, 3)  # blocks of each model, from small to large
    d_model: tuple[int, ...] = (32, 48, 64, 96)  # width of each model
    head_dim: int = 16  # width of an attention head
    context_length: int = 128  # tokens of a window
    n_steps: int = 300  # optimizer steps of each model
    batch_size: int = 16  # windows of an optimizer step
    lr: float = 3e-3  # peak learning rate

    def __post_init__(self) -> None:
        """Refuse sizes that no scaling law can be fitted to."""
        if len(self.n_layers) != len(self.d_model) or len(self.n_layers) < 4:
            raise ValueError(
                f"--n-layers {self.n_layers} and --d-model {self.d_model} must name as many sizes, four or "
                "more: a law of three numbers needs three sizes, and the largest tests it"
            )
        require_at_least_one(self, "head_dim")

    @property
    def n_tokens(self) -> int:
        """Number of training tokens of each size."""
        return self.n_steps * self.batch_size * self.context_length


def shape(plan: Plan, i: int, vocab_size: int) -> ModelConfig:
    """Return the model configuration of size i."""
    width = plan.d_model[i]
    sizes = {"n_layers": plan.n_layers[i], "d_model": width, "n_heads": max(1, width // plan.head_dim)}
    return small_decoder(vocab_size, plan.context_length, **sizes)


def flops_per_token(plan: Plan, i: int) -> float:
    """Return the training FLOPs per token of size i: three times those of the forward pass."""
    forward = forward_flops_per_token(shape(plan, i, plan.vocab_size), plan.context_length)
    return 3.0 * sum(forward.values())


def fit(compute: Sequence[float], losses: Sequence[float]) -> tuple[float, PowerLaw]:
    """Fit a power law above an irreducible loss.

    For each candidate of the irreducible loss a line is fitted to the logarithms; the candidate with the
    smallest squared error of the loss wins.

    Args:
        compute: Training FLOPs of each size, at least three.
        losses: Loss of each size.

    Returns:
        The irreducible loss, and the power law of the rest.

    >>> floor, law = fit([1.0, 4.0, 16.0], [3.0, 2.0, 1.5])
    >>> round(floor, 2), round(law.exponent, 2), round(floor + law(64.0), 2)
    (1.0, 0.5, 1.25)
    """
    x = [log(c) for c in compute]

    def line(floor: float) -> tuple[float, float]:
        slope, intercept = linear_regression(x, [log(loss - floor) for loss in losses])
        return slope, intercept

    def squared_error(floor: float) -> float:
        slope, intercept = line(floor)
        return sum(
            (floor + exp(intercept + slope * c) - loss) ** 2 for c, loss in zip(x, losses, strict=True)
        )

    floor = min((min(losses) * i / N_FLOORS for i in range(N_FLOORS)), key=squared_error)
    slope, intercept = line(floor)
    return floor, PowerLaw(scale=exp(-intercept / slope), exponent=-slope)


def extrapolate(plan: Plan, losses: Sequence[float]) -> dict[str, float]:
    """Fit the law to all sizes but the largest, and compare its prediction for that one with its loss."""
    compute = [flops_per_token(plan, i) * plan.n_tokens for i in range(len(plan.n_layers))]
    floor, law = fit(compute[:-1], losses[:-1])
    return {
        "floor": floor,
        "exponent": law.exponent,
        "scale": law.scale,
        "foretold": floor + law(compute[-1]),
        "found": losses[-1],
    }
