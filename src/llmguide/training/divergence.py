"""Detect loss spikes, and stop a diverging run before the step that would damage its weights.

Reference: loss spikes and restarting from an earlier checkpoint (PaLM, Chowdhery et al. 2022,
arXiv:2204.02311, section 5.1).
"""

import warnings
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from llmguide.training import distributed
from llmguide.training.checkpoint import checkpoints, step_of
from llmguide.training.config import TrainConfig

SPIKE_WINDOW = 20  # number of previous steps whose mean loss a new loss is compared with
# Standard deviations above that mean. A falling loss has a large deviation, so early steps raise no alarm.
SPIKE_DEVIATIONS = 6
# Nats above that mean; a rise of 0.1 increases the perplexity by 10%. When the loss is almost 0, so is its
# deviation, and one batch that is a little harder would be a spike.
MIN_SPIKE = 0.1
N_PINNED = 2  # number of checkpoints before spikes that are kept; each is as large as a run's last one


class DivergenceError(ArithmeticError):
    """The loss or the gradient is not finite, or the loss has jumped; the step was not taken."""


def is_spike(losses: Sequence[float], loss: float) -> bool:
    """Whether a loss is a spike relative to the previous ones, often the first sign of divergence.

    Args:
        losses: Losses of the previous steps; the last 20 are used, and fewer raise no alarm.
        loss: Loss of the current step.

    Returns:
        True if the loss exceeds their mean by more than six standard deviations, and by more than 0.1 nats.

    >>> calm = [2.0, 2.1] * 10
    >>> is_spike(calm, 2.3), is_spike(calm, 2.4)  # mean 2.05, deviation 0.0513
    (False, True)
    >>> is_spike([0.001, 0.002] * 10, 0.05)
    False
    """
    recent = losses[-SPIKE_WINDOW:]
    if len(recent) < SPIKE_WINDOW:
        return False
    return loss > fmean(recent) + max(SPIKE_DEVIATIONS * stdev(recent), MIN_SPIKE)


class DivergenceGuard:
    """Checks the loss and the gradient norm of each step before the weights change.

    Args:
        config: Hyperparameters of the run; its `max_spike` is the largest tolerated jump of the loss, in
            nats.
        losses: Losses of the steps so far, oldest first; the guard appends those that pass.
        folder: Folder of the checkpoints, or None if the run keeps none.
        pinned: Steps whose checkpoints are kept: the guard adds the last one before each spike, and keeps the
            newest two.
    """

    def __init__(
        self, config: TrainConfig, losses: Sequence[float], *, folder: str | Path | None, pinned: list[int]
    ):
        self.config = config
        self.losses = list(losses)
        self.folder = folder
        self.pinned = pinned

    def check(self, loss: float, grad_norm: float) -> None:
        """Raise on a jump of the loss; on a smaller spike warn, and pin the checkpoint before it.

        Args:
            loss: Training loss of the step, before the update.
            grad_norm: Norm of the gradient before clipping.

        Raises:
            DivergenceError: The loss or the gradient norm is not finite, or the loss exceeds the mean of the
                last 20 by more than `max_spike` and by more than half of that mean.
        """
        step, recent = len(self.losses) + 1, self.losses[-SPIKE_WINDOW:]
        mean = fmean(recent) if recent else loss
        usual = f"mean loss of the last {len(recent)} steps {mean:.4g}"
        metrics = f"loss {loss:.4g}, gradient norm {grad_norm:.4g}, {usual}"
        tolerated = max(self.config.max_spike, abs(mean) / 2)
        if not (isfinite(loss) and isfinite(grad_norm) and loss <= mean + tolerated):
            saved = (
                "the run keeps no checkpoints"
                if self.folder is None
                else f"the last checkpoints are in {self.folder}"
            )
            raise DivergenceError(
                f"step {step} was not taken: {metrics}; {saved}. Lower lr={self.config.lr:g}, "
                f"increase warmup_ratio={self.config.warmup_ratio:g}, or inspect the data of this step"
            )
        if is_spike(recent, loss):
            older = [] if self.folder is None else checkpoints(self.folder)
            older = [path for path in older if step_of(path) < step]
            kept = f"{older[0].name} is kept" if older else "there is no checkpoint to go back to"
            self.pinned[:] = sorted({*self.pinned, *map(step_of, older[:1])})[-N_PINNED:]
            if distributed.world().rank == 0:
                warnings.warn(f"step {step}: {metrics}: a spike; {kept}", stacklevel=4)
        self.losses.append(loss)
