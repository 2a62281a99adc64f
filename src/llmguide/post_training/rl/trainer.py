"""The loop shared by PPO and GRPO: prompts in a resumable order, steps, metrics, checkpoints.

A `PolicyTrainer` holds models, an optimizer and a `step`; `train` feeds it prompts. As in
`llmguide.training.train`, a run that was killed and restarted ends exactly where an uninterrupted run ends:
the prompts follow from a position and a seed, and a checkpoint holds weights, optimizer state, random state
and history.

Under `torchrun` each process generates completions for its slice of the prompts, and all processes gather all
of them, so that scores, advantages and the order of the minibatches are those of a single process. On CPUs
the curve equals that of one process up to the order of the sums. `llmguide.post_training.rl.policy_update`
splits the minibatches.

Leaves out: generating in other processes while the weights are trained, as verl and OpenRLHF do; sharded
weights (FSDP).

Glossary: ``B`` completions, ``B_p`` prompts of a step, ``T_p`` tokens of the longest prompt, ``T`` tokens of
the longest completion.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmguide.models.decoder_protocol import require_own
from llmguide.post_training.rl.config import PolicyTrainerConfig
from llmguide.post_training.rl.prompts import Prompts, as_prompts
from llmguide.post_training.rl.rollout import Rollout, completion_logprobs, rollout
from llmguide.training import distributed, distributed_checkpoint
from llmguide.training.checkpoint import random_state, set_random_state
from llmguide.training.interrupts import interrupts
from llmguide.training.locks import locked
from llmguide.training.monitor import Console, Logger
from llmguide.training.optimizer_state import load_named_state, named_state
from llmguide.training.optimizers import make_optimizer
from llmguide.training.trainable import fingerprint, load_trainable_state, trainable_state

Metrics = dict[str, float]
Reward = Callable[[Rollout], Float[Tensor, " B"] | Sequence[float]]  # one score for each completion


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
        prompts: Prompts,
        *,
        folder: str | Path | None = None,
        logger: Logger | None = None,
    ) -> list[Metrics]:
        """Take all steps of the config, resuming from the newest checkpoint of the folder.

        Args:
            prompts: Token ids of each prompt, as a list, a 2-D tensor or a map-style
                `torch.utils.data.Dataset` (items: lists, 1-D tensors or dicts with ``input_ids``); or a
                `DataLoader` of ``batch_size * gradient_accumulation_steps`` prompts a batch. See
                `llmguide.post_training.rl.prompts`.
            folder: Folder of the checkpoints; None: nothing is saved. With one, Ctrl-C and SIGTERM end the
                run after the current step, with a checkpoint.
            logger: Logger of the metrics of each step.

        Returns:
            Metrics of all steps, including those before an interruption. Another call takes no further steps.

        Raises:
            TypeError: The prompts have another form.
            ValueError: There is no prompt, or one is empty; the batch size is not that of the loader; another
                process trains in the folder.
        """
        config, data = self.config, as_prompts(prompts, seed=self.config.seed)
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
                if logger is not None and is_first_rank:
                    logger.log(step, metrics)  # before the checkpoint, as in `llmguide.training.train`
                console.show(step, metrics)
                is_due = step == config.n_steps or step % config.checkpoint_every == 0
                if folder is not None and (stopping or is_due):
                    distributed_checkpoint.save(
                        folder, self.state_dict(), step=step, keep_last=config.keep_last
                    )
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
        scores = torch.as_tensor(self.reward(rollouts), device=rollouts.ids.device).float()
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

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products have the precision of the config."""
        device = next(self.policy.parameters()).device
        enabled = self.config.precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _at_least_one(rows: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
    """Return the rows, or row 0 if there is none: a model cannot run on an empty batch."""
    return rows if len(rows) else rows.new_zeros(1)
