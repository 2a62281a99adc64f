"""The texts of the RLHF project, split so that no evaluating reward model has seen what PPO is trained on."""

from dataclasses import dataclass
from typing import NamedTuple

from llmguide.data.splits import in_validation
from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.corpora import (
    HELD_OUT,
    divide,
    hh_pairs,
    rated_texts,
    sentiment_pairs,
)
from llmguide.projects.run import require_at_least_one

N_HELD_OUT = 2000  # pairs that the reward models are evaluated on


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    data: str | None = None  # hh, or JSON lines with prompt, chosen and rejected; None: rated film snippets
    n_pairs: int = 8_000  # pairs for each of the two reward models, sampled from the rated texts
    prompt_words: int = 4  # words of a snippet that are the prompt
    max_new_tokens: int = 24  # most tokens of a completion
    vocab_size: int = 1024  # token ids of the tokenizer
    n_layers: int = 2  # blocks of the policy and the reward models
    d_model: int = 64  # width of the models
    n_heads: int = 2  # attention heads
    context_length: int = 40  # tokens of prompt and completion; a reward model reads the last ones
    dropout: float = 0.1  # dropout of fine-tuning and reward models; PPO has none
    sft_steps: int = 320  # optimizer steps of fine-tuning
    batch_size: int = 32  # texts or pairs of an optimizer step
    sft_rate: float = 3e-3  # peak learning rate of fine-tuning
    reward_rate: float = 2e-3  # peak learning rate of the reward models
    ppo_steps: int = 60  # rollouts of each PPO run
    n_answers: int = 48  # completions of a rollout
    ppo_rate: float = 1e-3  # learning rate of PPO
    kl_coefs: tuple[float, ...] = (0.1, 0.3, 0.03)  # KL coefficients, a PPO run each; the first is checked
    base: str | None = None  # pretrained model to adapt, such as smollm2-135m-instruct; None: a small new one
    n_blocks: int = 12  # lowest blocks of the base that the reward models keep
    lora_rank: int = 16  # rank of the adapters in the upper half of the blocks of each model
    reward_steps: int | None = None  # optimizer steps of each reward model; None: one epoch

    def __post_init__(self) -> None:
        """Refuse what would fail only after the reward models are trained."""
        require_at_least_one(self, "n_pairs", "prompt_words", "n_blocks", "lora_rank", "reward_steps")
        if not self.kl_coefs or min(self.kl_coefs) < 0:
            raise ValueError(f"--kl-coefs {self.kl_coefs} must be one or more numbers of at least 0")
        if self.max_new_tokens >= self.context_length:
            raise ValueError(
                f"--max-new-tokens {self.max_new_tokens} leaves no room for a prompt in --context-length "
                f"{self.context_length}"
            )


class Splits(NamedTuple):
    """Which texts each model may see.

    Attributes:
        demonstrations: Prompts and their human completions, for fine-tuning; PPO uses the prompts.
        comparisons: Preference pairs for the reward model that PPO is trained on.
        other_comparisons: Preference pairs of other texts by other raters, for the evaluating reward models.
        held_out: Preference pairs of held-out texts.
        prompts: Prompts from held-out texts, no two from one review.
    """

    demonstrations: list[tuple[str, str]]
    comparisons: list[TextPair]
    other_comparisons: list[TextPair]
    held_out: list[TextPair]
    prompts: list[str]


def splits(plan: Plan, seed: int) -> Splits:
    """Read the comparisons, and split them by text and rater."""
    if plan.data is not None:
        train, held_out = divide(hh_pairs() if plan.data == "hh" else comparisons(plan.data))
        halves: tuple[list[TextPair], list[TextPair]] = ([], [])
        for pair in train:
            halves[is_for_evaluation(pair.units[0])].append(pair)
        prompts = sorted({prompt_text(pair) for pair in held_out})
        return Splits([(prompt_text(pair), pair.chosen) for pair in train], *halves, held_out, prompts)
    texts = rated_texts(["movies"])
    first_half = [text for text in texts if not is_for_evaluation(text.group)]
    # without the first rating, the deciding panel is the other half of the raters
    second_half = [text._replace(ratings=text.ratings[1:]) for text in texts if is_for_evaluation(text.group)]
    demonstrations: list[tuple[str, str]] = []
    held_out_prompts: dict[str, str] = {}
    for text in texts:
        prompt, rest = cut(text.text, plan.prompt_words)
        if rest and in_validation(text.group, HELD_OUT):
            held_out_prompts.setdefault(text.group, prompt)
        elif rest:
            demonstrations.append((prompt, rest))
    return Splits(
        demonstrations,
        sentiment_pairs("train", plan.n_pairs, texts=first_half, seed=seed),
        sentiment_pairs("train", plan.n_pairs, texts=second_half, seed=seed),
        sentiment_pairs("validation", N_HELD_OUT, texts=texts),
        list(held_out_prompts.values()),
    )


def is_for_evaluation(unit: str) -> bool:
    """Whether a text or conversation is for the evaluating reward models rather than the one PPO uses."""
    return in_validation(f"others {unit}", 0.5)


def cut(text: str, n_words: int) -> tuple[str, str]:
    """Split a text after its first words.

    >>> cut("A film that is not without charm.", 4)
    ('A film that is', ' not without charm.')
    """
    words = text.split(" ")
    rest = " ".join(words[n_words:])
    return " ".join(words[:n_words]), f" {rest}" if rest else ""


def prompt_text(pair: TextPair) -> str:
    """Write the messages before a compared pair as one text."""
    return "".join(f"{message['role']}: {message['content']}\n" for message in pair.prompt)
