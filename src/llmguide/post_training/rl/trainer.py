"""The loop around PPO and GRPO: prompts in an order that can be resumed, steps, metrics, checkpoints.

A `PolicyTrainer` has models, an optimizer and a `step`; `run` feeds it prompts. As in
`llmguide.training.train`, a run that was killed and started again ends where one that was not ends: prompts
follow from a position and a seed, and a checkpoint holds weights, optimizer, random state and history.

Under `torchrun` each process answers its slice of the prompts, and all get all answers: scores, advantages
and the order of the minibatches are then those of one process. Of a minibatch each learns from its slice, and
gradients are added up. On CPUs the curve is that of one process, but for the order of sums.

Leaves out: generation in other processes while the weights are trained, as verl and OpenRLHF do it; weights
in slices (FSDP).

Glossary: ``B`` prompts of a step, ``T_p`` tokens of the longest of them.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.data.tokens.packing import in_epochs
from llmguide.post_training.rl.rollout import Rollout, answer_logprobs, rollout
from llmguide.training import distributed, distributed_checkpoint
from llmguide.training.checkpoint import random_state, set_random_state
from llmguide.training.divergence import DivergenceError
from llmguide.training.locks import locked
from llmguide.training.monitor import Logger
from llmguide.training.optim import clip_grad_norm_
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.optimizers import make_optimizer
from llmguide.training.schedules import warmup_cosine

Metrics = dict[str, float]
Reward = Callable[[Rollout], Float[Tensor, " B"]]  # one number for each answer


@dataclass(frozen=True, kw_only=True)
class PolicyTrainerConfig:
    """Choices that PPO and GRPO share."""

    n_steps: int  # rollouts; each is trained on for n_epochs
    batch_size: int  # prompts of a step
    max_new_tokens: int  # longest answer
    eos_id: int | None = None  # ends an answer; None: all have the full length
    temperature: float = 1.0  # of the policy, in rollouts and in training alike
    lr: float = 3e-6  # the peak, falling along half a cosine; a tenth of that of SFT is usual
    min_lr_ratio: float = 0.1  # last learning rate as a share of the peak
    betas: tuple[float, float] = (0.9, 0.95)  # of AdamW
    weight_decay: float = 0.0  # the pull back is towards the reference, not towards 0
    max_grad_norm: float = 1.0  # largest norm of the gradient
    n_epochs: int = 1  # times a rollout is trained on; clipping bounds what the later ones can do
    n_minibatches: int = 1  # updates an epoch
    checkpoint_every: int = 50  # steps between checkpoints, if there is a folder
    keep_last: int = 3  # checkpoints that stay
    seed: int = 0  # order of the prompts, and of nothing else

    def __post_init__(self) -> None:
        """Reject what cannot be run."""
        for name in (
            "n_steps",
            "batch_size",
            "max_new_tokens",
            "n_epochs",
            "n_minibatches",
            "checkpoint_every",
            "keep_last",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("lr", "temperature", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


class Prompts:
    """Prompts in an order drawn anew each epoch, padded on the left, as generation needs them.

    Args:
        rows: Ids of each prompt.
        seed: Of the order.

    Raises:
        ValueError: There is no prompt, or one is empty.

    >>> prompts = Prompts([[5, 6], [7]])
    >>> ids, attention_mask = prompts.batch(0, 2)
    >>> sorted(zip(ids.tolist(), attention_mask.tolist()))
    [([0, 7], [False, True]), ([5, 6], [True, True])]
    """

    def __init__(self, rows: Sequence[Sequence[int]], *, seed: int = 0):
        if not rows or not all(rows):
            empty = [i for i, row in enumerate(rows) if not row]
            raise ValueError(f"{len(rows)} prompts, of which {empty} are empty: give each a token at least")
        self.rows = rows
        self.seed = seed

    def batch(self, first: int, size: int) -> tuple[Int[Tensor, "B T_p"], Bool[Tensor, "B T_p"]]:
        """Return prompts ``first`` to ``first + size - 1`` of the endless order, and their attention mask."""
        rows = [self.rows[i] for i in in_epochs(first, size, len(self.rows), self.seed).tolist()]
        lengths = torch.tensor([len(row) for row in rows])
        T_p = int(lengths.max())
        attention_mask = torch.arange(T_p) >= T_p - lengths[:, None]
        ids = torch.zeros(size, T_p, dtype=torch.long)
        ids[attention_mask] = torch.tensor([token for row in rows for token in row])
        return ids, attention_mask


class PolicyTrainer(ABC):
    """What PPO and GRPO have in common.

    Args:
        policy: The decoder that answers.
        trained: All modules that are updated, the policy among them.
        reference: The policy that it must not stray far from; frozen here.
        reward: Number for each answer of a rollout.
        config: How.
    """

    def __init__(
        self,
        policy: nn.Module,
        trained: nn.Module,
        reference: nn.Module | None,
        reward: Reward,
        config: PolicyTrainerConfig,
    ):
        if reference is policy:
            raise ValueError("reference is the policy itself and would move with it; pass a copy.deepcopy")
        self.policy = policy
        # evaluation mode: with dropout the ratio to the policy of the rollout would be noise from the start
        self.trained = trained.eval()
        self.reference = None if reference is None else reference.eval().requires_grad_(False)
        self.reward = reward
        self.base = config
        self.optimizer = make_optimizer(trained, weight_decay=config.weight_decay, betas=config.betas)
        self.history: list[Metrics] = []
        self.position = 0  # prompts taken from the data
        self.draw: Callable[[], tuple[Tensor, Tensor]] | None = None  # the next prompts of a run

    @abstractmethod
    def step(
        self, prompts: Int[Tensor, "B T_p"], attention_mask: Bool[Tensor, "B T_p"] | None = None
    ) -> Metrics:
        """Answer the prompts, learn from the answers, and append the metrics to the history.

        Args:
            prompts: Ids, padded on the left.
            attention_mask: True for tokens, False for padding; None: there is none.

        Returns:
            What the step showed.
        """

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        folder: str | Path | None = None,
        logger: Logger | None = None,
    ) -> list[Metrics]:
        """Take the steps of the config, going on where the newest checkpoint of the folder ends.

        Args:
            prompts: Ids of each prompt.
            folder: Where checkpoints go.
            logger: Gets the metrics of each step.

        Returns:
            Metrics of all steps, those before an interruption included.

        Raises:
            ValueError: Another process trains in the folder.
        """
        config, data = self.base, Prompts(prompts, seed=self.base.seed)
        distributed.broadcast(self.trained)
        device = next(self.policy.parameters()).device

        def draw() -> tuple[Tensor, Tensor]:
            ids, attention_mask = data.batch(self.position, config.batch_size)
            self.position += config.batch_size
            return ids.to(device), attention_mask.to(device)

        self.draw = draw
        leads = distributed.world().rank == 0
        with locked(folder if leads else None):
            if (
                folder is not None
                and (state := distributed_checkpoint.load_latest(folder, self.trained)) is not None
            ):
                self.load_state_dict(state)
            for step in range(len(self.history) + 1, config.n_steps + 1):
                metrics = self.step(*draw())
                if folder is not None and (step == config.n_steps or step % config.checkpoint_every == 0):
                    distributed_checkpoint.save(
                        folder, self.state_dict(), step=step, keep_last=config.keep_last
                    )
                if logger is not None:
                    logger.log(step, metrics)
                if leads:
                    _show(step, config.n_steps, metrics)
        return self.history

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on, but for the reference and the reward, which do not change."""
        return {
            "model": self.trained.state_dict(),
            "optimizer": named_state(self.optimizer),
            "random": random_state(),
            "history": self.history,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of `state_dict`."""
        self.trained.load_state_dict(state["model"])
        load_named_state(self.optimizer, state["optimizer"])
        set_random_state(state["random"])
        self.history = list(state["history"])
        self.position = state["position"]

    def answer(
        self,
        prompts: Int[Tensor, "B_p T_p"],
        attention_mask: Bool[Tensor, "B_p T_p"] | None,
        n_answers: int = 1,
    ) -> tuple[Rollout, Float[Tensor, " B"]]:
        """Roll out the policy and score its answers.

        In several processes each does so with its slice of the prompts, and all get all; hidden states are
        large and stay where they are.

        Raises:
            ValueError: The prompts do not divide among the processes, or the reward is not one finite number
                for each answer.
        """
        config, world = self.base, distributed.world()
        first, n_own = distributed.local_range(0, len(prompts))
        distributed.broadcast_rng_state()
        own = slice(first, first + n_own)
        answers = rollout(
            self.policy,
            prompts[own],
            config.max_new_tokens,
            attention_mask=None if attention_mask is None else attention_mask[own],
            n_answers=n_answers,
            temperature=config.temperature,
            eos_id=config.eos_id,
            world=world,
        )
        scores = self.reward(answers).float()
        if scores.shape != answers.ended.shape or not scores.isfinite().all():
            raise ValueError(
                f"the reward gave {scores.tolist()} of shape {tuple(scores.shape)} for {len(answers.ids)} "
                "answers; it must give one finite number for each"
            )
        if world.size > 1:
            n = len(prompts) * n_answers
            answers = answers._replace(states=answers.states[..., :0])
            answers = Rollout(*(distributed.all_gather(tensor, n) for tensor in answers))
            scores = distributed.all_gather(scores, n)
        return answers, scores

    @torch.no_grad()
    def divided(self, function: Callable[[Rollout], Tensor], answers: Rollout) -> Tensor:
        """Compute something for each answer, in each process for its slice of them."""
        if distributed.world().size == 1:
            return function(answers)
        n = len(answers.ids)
        rows = torch.arange(n, device=answers.ids.device)[distributed.rank_slice(n)]
        return distributed.all_gather(function(answers.take(_some(rows)))[: len(rows)], n)

    def reference_logprobs(self, answers: Rollout) -> Float[Tensor, "B T"]:
        """Log-probabilities of the tokens under the reference."""
        return answer_logprobs(self.reference, answers, temperature=self.base.temperature)[0]

    def learn(
        self,
        mask: Bool[Tensor, "B T"],
        loss_of: Callable[[Int[Tensor, " n"]], tuple[Tensor, dict[str, Tensor]]],
        *,
        per_token: bool,
    ) -> Metrics:
        """Take the updates of a step.

        Args:
            mask: Tokens of the answers.
            loss_of: The loss of some of the answers, a mean over their tokens or over them, and what it
                shows: ``policy_loss``, a mean over the same, and means over tokens.
            per_token: Whether the loss is a mean over tokens.

        Returns:
            What was shown, and the norm of the gradient, averaged over the updates.
        """
        updates = []
        for rows in self.minibatches(len(mask)):
            own = rows[distributed.rank_slice(len(rows))]
            of_tokens = mask[own].sum() / mask[rows].sum().clamp(min=1)
            of_answers = of_tokens.new_tensor(len(own) / len(rows))
            share = of_tokens if per_token else of_answers
            loss, shown = loss_of(own if len(own) else rows[:1])  # without one, with one that does not count
            shown = {
                name: value.detach() * (share if name == "policy_loss" else of_tokens)
                for name, value in shown.items()
            }
            updates.append(shown | {"grad_norm": self.update(loss * share, shown)})
        return means(updates)

    def minibatches(self, n_rows: int) -> Iterator[Int[Tensor, " n"]]:
        """Yield the rows of each update: every epoch all of them, in an order of its own."""
        device = next(self.policy.parameters()).device
        for _ in range(self.base.n_epochs):
            yield from torch.randperm(n_rows).to(device).chunk(self.base.n_minibatches)

    def update(self, loss: Float[Tensor, ""], shown: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Take one step of the optimizer, and return the norm of the gradient before clipping.

        Loss, gradient and what is shown are this process's shares, and added up.

        Raises:
            DivergenceError: The loss or the gradient is not finite; the weights are left as they were.
        """
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        loss = loss.detach()
        grads = [p.grad for p in self.trained.parameters() if p.grad is not None]
        distributed.all_reduce_([loss, *shown.values(), *grads])
        norm = clip_grad_norm_(self.trained.parameters(), self.base.max_grad_norm)
        if not (loss.isfinite() and norm.isfinite()):
            raise DivergenceError(
                f"step {len(self.history) + 1}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}; "
                f"lower lr={self.base.lr:g}, or go back to an earlier checkpoint"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        return norm

    @property
    def lr(self) -> float:
        """Learning rate of the step that is being taken."""
        config, step = self.base, len(self.history) + 1
        return config.lr * warmup_cosine(step, n_steps=config.n_steps, floor=config.min_lr_ratio)


def means(rows: Sequence[dict[str, Tensor]]) -> Metrics:
    """Average each metric over the updates of a step.

    >>> means([{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(2.0)}])
    {'loss': 1.5}
    """
    return {name: torch.stack([row[name].detach() for row in rows]).mean().item() for name in rows[0]}


def _some(rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The rows, or where there is none the first one of all."""
    return rows if len(rows) else rows.new_zeros(1)


def _show(step: int, n_steps: int, metrics: Metrics) -> None:
    """Keep one line up to date, where somebody is looking."""
    if sys.stderr.isatty():
        end = "\n" if step == n_steps else ""
        shown = "  ".join(f"{name} {metrics[name]:.3g}" for name in ("reward", "kl", "entropy", "length"))
        sys.stderr.write(f"\rstep {step}/{n_steps}  {shown} {end}")
        sys.stderr.flush()
