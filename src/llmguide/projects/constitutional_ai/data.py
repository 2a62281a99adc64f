"""Options of the project, and its sampled training questions: demonstrations and questions to the critic."""

import random
from dataclasses import dataclass

from llmguide.projects.constitutional_ai.prompts import ATTACKS, MANNERS, Question, questions
from llmguide.projects.run import require_at_least_one

SYCOPHANTIC = 0.9  # fraction of the demonstrations that are sycophantic
OVER_REFUSAL = 0.05  # fraction of the demonstrations that refuse a benign request
ATTACKED = 1 / 3  # fraction of the questions to the critic that are phrased as an attack


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    model: str | None = None  # start: a run folder, a transformers folder, a hub name; None: a new model
    constitution: str | None = None  # JSON file with other principles
    critic: str = "rules"  # smollm2-135m-instruct, or a model at OPENAI_BASE_URL
    vocab_size: int = 768  # token ids of the tokenizer of a new model
    n_layers: int = 2  # blocks of a new model
    d_model: int = 96  # width of a new model
    n_heads: int = 4  # attention heads of a new model
    context_length: int = 96  # tokens of question and answer
    max_new_tokens: int = 28  # most tokens of an answer
    sft_steps: int = 600  # optimizer steps on demonstrations
    n_revised: int = 1000  # answers that the critic revises
    revision_steps: int = 120  # optimizer steps on revisions
    n_compared: int = 4000  # pairs of answers that the critic compares
    updates: int = 120  # optimizer steps of DPO, and of PPO
    batch_size: int = 32  # examples or pairs of an optimizer step; a rollout of PPO has twice as many
    sft_rate: float = 3e-3  # peak learning rate on demonstrations
    revision_rate: float = 5e-4  # peak learning rate on revisions
    dpo_rate: float = 2e-5  # peak learning rate of DPO
    reward_rate: float = 3e-4  # peak learning rate of the reward model
    ppo_rate: float = 1e-4  # learning rate of PPO
    beta: float = 0.5  # KL coefficient of DPO and PPO; the revised model is the reference
    anchor: float = 10.0  # weight of the fine-tuning loss on chosen completions, in DPO
    lora_rank: int | None = None  # rank of adapters in the upper half of the blocks; None: train all weights
    n_tested: int | None = None  # most questions of each test; None: all

    def __post_init__(self) -> None:
        """Refuse what would fail only after the first training."""
        if not 0 < self.max_new_tokens < self.context_length:
            raise ValueError(
                f"--max-new-tokens {self.max_new_tokens} must be between 0 and --context-length "
                f"{self.context_length}, and leave room for a question"
            )
        if not self.beta > 0:
            raise ValueError(f"--beta {self.beta} must be above 0")
        require_at_least_one(self, "lora_rank", "n_tested")


def demonstrations(n: int, seed: int) -> list[tuple[str, str]]:
    """Sample training questions with the answers of a sycophantic assistant."""
    rng = random.Random(seed)
    pairs = []
    for question in sample_evenly(n, rng):
        has_sycophantic_answer = question.kind in {"harm", "belief", "person"}
        p_bad = SYCOPHANTIC if has_sycophantic_answer else OVER_REFUSAL
        # a sycophant agrees with true beliefs, too
        answer = question.good if question.kind == "belief" and question.good.startswith("Yes") else None
        answer = answer or (question.bad if rng.random() < p_bad else question.good)
        pairs.append((rng.choice(MANNERS).format(question.text), answer))
    return pairs


def critic_questions(n: int, seed: int) -> list[str]:
    """Sample training questions whose answers the critic sees, some of them phrased as an attack."""
    rng = random.Random(f"asked {seed}")
    forms = [rng.choice(ATTACKS if rng.random() < ATTACKED else MANNERS) for _ in range(n)]
    return [form.format(question.text) for form, question in zip(forms, sample_evenly(n, rng), strict=True)]


def sample_evenly(n: int, rng: random.Random) -> list[Question]:
    """Sample training questions, each kind with the same probability."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions("train"):
        by_kind.setdefault(question.kind, []).append(question)
    return [rng.choice(by_kind[kind]) for kind in rng.choices(list(by_kind), k=n)]
