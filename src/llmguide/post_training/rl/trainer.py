"""The loop shared by PPO and GRPO: prompts in a resumable order, steps, metrics, checkpoints.

A `PolicyTrainer` holds models, an optimizer and a `step`; `train` feeds it prompts. As in
`llmguide.training.train`, a run that was killed and restarted ends exactly where an uninterrupted run ends:
the prompts follow from a position and a seed, and a checkpoint holds weights, optimizer state, random state
and history.

Under `torchrun` each process generates completions for its slice of the prompts, and all processes gather all
of them, so that scores, advantages and the order of the minibatches are those of a single process. Each
process then trains on its slice of a minibatch, and gradients are all-reduced. On CPUs the curve equals that
of one process up to the order of the sums.

Leaves out: generating in other processes while the weights are trained, as verl and OpenRLHF do; sharded
weights (FSDP).

Glossary: ``B`` completions, ``B_p`` prompts of a step, ``T_p`` tokens of the longest prompt, ``T`` tokens of
the longest completion.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.models.decoder_protocol import require_own
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.prompts import PromptDataset
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, rollout
from llmguide.training import distributed, distributed_checkpoint
from llmguide.training.activation_checkpointing import training_blocks
from llmguide.training.checkpoint import random_state, set_random_state
from llmguide.training.divergence import DivergenceError
from llmguide.training.interrupts import interrupts
from llmguide.training.locks import locked
from llmguide.training.monitor import Console, Logger
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.optimizers import make_optimizer
from llmguide.training.schedules import warmup_cosine
from llmguide.training.trainable import fingerprint, load_trainable_state, trainable_state
from llmguide.training.update_rules import clip_grad_norm_

Metrics = dict[str, float]
Reward = Callable[[Rollout], Float[Tensor, " B"]]  # from a rollout to one score for each completion


ConfigT = TypeVar("ConfigT", bound=PolicyTrainerConfig)


class PolicyTrainer(ABC, Generic[ConfigT]):
    """Base class of the PPO and GRPO trainers.

    Args:
        policy: The decoder that generates completions.
        trained: Module that holds every module to update, the policy among them.
        reference_model: Frozen model that the KL penalty is measured from; its gradients are turned off here.
        reward: Function from a rollout to one score per completion.
        config: Training hyperparameters.

    Raises:
        ValueError: The reference model is the policy itself, or the policy is a model of transformers.
    """

    keep_states = False  # whether rollouts keep hidden states, which only a value head on the policy reads

    def __init__(
        self,
        policy: nn.Module,
        trained: nn.Module,
        reference_model: nn.Module | None,
        reward: Reward,
        config: ConfigT,
    ):
        require_own(policy)
        if reference_model is policy:
            raise ValueError(
                "reference_model is the policy itself and would change with it; pass a copy.deepcopy"
            )
        self.policy = policy
        # evaluation mode: with dropout the ratio to the policy of the rollout would be noise from the start
        self.trained = trained.eval()
        self.reference_model = (
            None if reference_model is None else reference_model.eval().requires_grad_(False)
        )
        self.reward = reward
        self.config = config
        self.optimizer = make_optimizer(trained, weight_decay=config.weight_decay, betas=config.betas)
        self.history: list[Metrics] = []
        self.position = 0  # prompts taken from the data so far
        self.next_prompts: Callable[[], tuple[Tensor, Tensor]] | None = None  # set by train

    @abstractmethod
    def step(
        self, prompts: Int[Tensor, "B_p T_p"], attention_mask: Bool[Tensor, "B_p T_p"] | None = None
    ) -> Metrics:
        """Generate completions, train on them, and append the metrics to the history.

        Args:
            prompts: Token ids of the prompts, padded on the left.
            attention_mask: True for tokens, False for padding; None: there is no padding.

        Returns:
            Metrics of the step.
        """

    def train(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        folder: str | Path | None = None,
        logger: Logger | None = None,
    ) -> list[Metrics]:
        """Take all steps of the config, resuming from the newest checkpoint of the folder.

        Args:
            prompts: Token ids of each prompt.
            folder: Folder of the checkpoints; None: nothing is saved. With one, Ctrl-C and SIGTERM end the
                run after the current step, with a checkpoint.
            logger: Logger of the metrics of each step.

        Returns:
            Metrics of all steps, including those before an interruption. Another call takes no further steps.

        Raises:
            ValueError: Another process trains in the folder.
        """
        config, data = self.config, PromptDataset(prompts, seed=self.config.seed)
        distributed.broadcast(self.trained)
        device = next(self.policy.parameters()).device

        def next_prompts() -> tuple[Tensor, Tensor]:
            n_prompts = config.batch_size * config.gradient_accumulation_steps
            ids, attention_mask = data.batch(self.position, n_prompts)
            self.position += n_prompts
            return ids.to(device), attention_mask.to(device)

        self.next_prompts = next_prompts
        is_first_rank = distributed.world().rank == 0
        console = Console(config.n_steps, every=max(1, config.n_steps // 10), quiet=not is_first_rank)
        stop_signals = interrupts(deferred=folder is not None)
        with locked(folder if is_first_rank else None), console, stop_signals as signals:
            if (
                folder is not None
                and (state := distributed_checkpoint.load_latest(folder, self.trained)) is not None
            ):
                self.load_state_dict(state)
                console.write(f"resumed after step {len(self.history):,} of {config.n_steps:,}")
            for step in range(len(self.history) + 1, config.n_steps + 1):
                metrics = self.step(*next_prompts())
                stopping = signals.requested(device)
                is_due = step == config.n_steps or step % config.checkpoint_every == 0
                if folder is not None and (stopping or is_due):
                    distributed_checkpoint.save(
                        folder, self.state_dict(), step=step, keep_last=config.keep_last
                    )
                if logger is not None and is_first_rank:
                    logger.log(step, metrics)
                console.show(step, metrics)
                if stopping:
                    signals.stop()
        return self.history

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume, except the reference model and the reward, which are fixed."""
        return {
            "model": trainable_state(self.trained),
            "frozen": fingerprint(self.trained),
            "optimizer": named_state(self.optimizer),
            "random": random_state(),
            "history": self.history,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`."""
        load_trainable_state(self.trained, state["model"], state.get("frozen"), of="the checkpoint")
        load_named_state(self.optimizer, state["optimizer"])
        set_random_state(state["random"])
        self.history = list(state["history"])
        self.position = state["position"]

    def generate(
        self,
        prompts: Int[Tensor, "B_p T_p"],
        attention_mask: Bool[Tensor, "B_p T_p"] | None,
        n_completions: int = 1,
    ) -> tuple[Rollout, Float[Tensor, " B"]]:
        """Sample completions from the policy and score them.

        With several processes each handles its slice of the prompts, and all gather the result. Hidden states
        are large and are not gathered.

        Args:
            prompts: Token ids of the prompts, padded on the left.
            attention_mask: True for tokens, False for padding; None: there is no padding.
            n_completions: Completions per prompt.

        Returns:
            The rollout, and the score of each completion.

        Raises:
            ValueError: The prompts do not divide among the processes, or the reward is not one finite number
                for each completion.
        """
        config, world = self.config, distributed.world()
        first, n_own = distributed.local_range(0, len(prompts))
        distributed.broadcast_rng_state()
        own = slice(first, first + n_own)
        with self.autocast():
            rollouts = rollout(
                self.policy,
                prompts[own],
                config.max_new_tokens,
                attention_mask=None if attention_mask is None else attention_mask[own],
                n_completions=n_completions,
                temperature=config.temperature,
                eos_id=config.eos_id,
                keep_states=self.keep_states and world.size == 1,
                world=world,
            )
        scores = self.reward(rollouts).float()
        if scores.shape != rollouts.ended.shape or not scores.isfinite().all():
            raise ValueError(
                f"the reward gave {scores.tolist()} of shape {tuple(scores.shape)} for {len(rollouts.ids)} "
                "completions; it must give one finite number for each"
            )
        if world.size > 1:
            n = len(prompts) * n_completions
            rollouts = Rollout(*(distributed.all_gather(tensor, n) for tensor in rollouts))
            scores = distributed.all_gather(scores, n)
        return rollouts, scores

    @torch.no_grad()
    def data_parallel_map(self, function: Callable[[Rollout], Tensor], rollouts: Rollout) -> Tensor:
        """Apply a function to every completion, each process to its slice, and gather the results."""
        with self.autocast():
            if distributed.world().size == 1:
                return function(rollouts)
            n = len(rollouts.ids)
            rows = torch.arange(n, device=rollouts.ids.device)[distributed.rank_slice(n)]
            results = function(rollouts.take(_at_least_one(rows)))[: len(rows)]
        return distributed.all_gather(results, n)

    def reference_logprobs(self, rollouts: Rollout) -> Float[Tensor, "B T"]:
        """Compute the log-probabilities of the completion tokens under the reference model."""
        return completion_logprobs(self.reference_model, rollouts, temperature=self.config.temperature)[0]

    def train_on(
        self,
        mask: Bool[Tensor, "B T"],
        minibatch_loss: Callable[[Int[Tensor, " n"]], tuple[Tensor, dict[str, Tensor]]],
        *,
        per_token: bool,
    ) -> Metrics:
        """Take the optimizer steps of one rollout.

        Args:
            mask: True for the tokens of the completions.
            minibatch_loss: Function from the row numbers of a minibatch to its loss, a mean over tokens or
                over completions, and metrics: ``policy_loss``, averaged like the loss, and means over tokens.
            per_token: Whether the loss is a mean over tokens.

        Returns:
            The metrics and the gradient norm, averaged over the optimizer steps.
        """
        config, history = self.config, []

        def backward(part: Tensor, rows: Tensor) -> dict[str, Tensor]:
            # weights with which the means of the parts of all processes sum to the mean of the minibatch
            token_weight = mask[part].sum() / mask[rows].sum().clamp(min=1)
            completion_weight = token_weight.new_tensor(len(part) / len(rows))
            weight = token_weight if per_token else completion_weight
            recompute = config.activation_checkpointing
            with self.autocast(), training_blocks(self.trained, activation_checkpointing=recompute):
                # a process without rows computes the loss of one, with weight 0
                loss, metrics = minibatch_loss(part if len(part) else rows[:1])
            loss = loss * weight
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return {"loss": loss.detach()} | {
                name: value.detach() * (weight if name == "policy_loss" else token_weight)
                for name, value in metrics.items()
            }

        for rows in self.minibatches(len(mask)):
            own = rows[distributed.rank_slice(len(rows))]
            self.optimizer.zero_grad()
            parts = [backward(part, rows) for part in own.chunk(config.gradient_accumulation_steps)]
            metrics = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
            loss = metrics.pop("loss")
            history.append(metrics | {"grad_norm": self.optimizer_step(loss, metrics)})
        return means(history)

    def minibatches(self, n_rows: int) -> Iterator[Int[Tensor, " n"]]:
        """Yield the row numbers of each minibatch: every epoch covers all rows in a new random order."""
        device = next(self.policy.parameters()).device
        for _ in range(self.config.n_epochs):
            yield from torch.randperm(n_rows).to(device).chunk(self.config.n_minibatches)

    def optimizer_step(self, loss: Float[Tensor, ""], metrics: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Update the weights by their gradients; return the norm of the gradient before clipping.

        Loss, gradients and metrics of this process are all-reduced (summed) in place.

        Args:
            loss: This process's weighted part of the loss.
            metrics: This process's weighted part of each metric.

        Raises:
            DivergenceError: The loss or the gradient is not finite; the weights are left as they were.
        """
        grads = [p.grad for p in self.trained.parameters() if p.grad is not None]
        distributed.all_reduce_([loss, *metrics.values(), *grads])
        norm = clip_grad_norm_(self.trained.parameters(), self.config.max_grad_norm)
        if not (loss.isfinite() and norm.isfinite()):
            raise DivergenceError(
                f"step {len(self.history) + 1}: loss {loss.item():.4g}, gradient norm {norm.item():.4g}; "
                f"lower lr={self.config.lr:g}, or resume from an earlier checkpoint"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        return norm

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products have the precision of the config."""
        device = next(self.policy.parameters()).device
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    @property
    def lr(self) -> float:
        """Learning rate of the current step."""
        config, step = self.config, len(self.history) + 1
        return config.lr * warmup_cosine(step, n_steps=config.n_steps, floor=config.min_lr_ratio)


def means(rows: Sequence[dict[str, Tensor]]) -> Metrics:
    """Average each metric over the optimizer steps of a rollout.

    >>> means([{"loss": torch.tensor(1.0)}, {"loss": torch.tensor(2.0)}])
    {'loss': 1.5}
    """
    return {name: torch.stack([row[name].detach() for row in rows]).mean().item() for name in rows[0]}


def _at_least_one(rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Return the rows, or row 0 if there is none: a model cannot run on an empty batch."""
    return rows if len(rows) else rows.new_zeros(1)
