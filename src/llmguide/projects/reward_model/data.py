"""The comparisons that the reward model is trained and tested on."""

from dataclasses import dataclass

from llmguide.post_training.datasets import TextPair, comparisons
from llmguide.post_training.preferences.corpora import divide, hh_pairs, rated_texts, sentiment_pairs
from llmguide.projects.run import require_at_least_one

N_HELD_OUT = 4000  # pairs of each test


@dataclass(frozen=True)
class Plan:
    """Options of the project; with the defaults it takes minutes on two cores."""

    data: str | None = None  # hh, or JSON lines with prompt, chosen and rejected; None: rated film snippets
    n_pairs: int = 8_000  # pairs sampled from the rated texts
    vocab_size: int = 2048  # token ids of the tokenizer
    n_layers: int = 4  # blocks of the model
    d_model: int = 128  # width of the model
    n_heads: int = 4  # attention heads
    context_length: int = 64  # tokens of a text that are read, its last ones
    dropout: float = 0.1  # there are few texts, and each is in several pairs
    language_steps: int = 300  # optimizer steps of the language model
    batch_size: int = 32  # windows or pairs of an optimizer step
    language_rate: float = 3e-3  # peak learning rate of the language model
    reward_rate: float = 1e-3  # peak learning rate of the reward model
    base: str | None = None  # pretrained model to adapt, such as smollm2-135m-instruct; None: a small new one
    n_blocks: int = 12  # lowest blocks of the base that the reward model keeps
    lora_rank: int = 16  # rank of the adapters in the upper half of these blocks
    reward_steps: int | None = None  # optimizer steps of the reward model; None: one epoch
    n_edited: int = 4_000  # most held-out texts that are edited in the analysis

    def __post_init__(self) -> None:
        """Refuse what would fail only after minutes."""
        require_at_least_one(self, "n_pairs", "n_blocks", "lora_rank", "reward_steps", "n_edited")


def training_pairs(data: str | None, n: int, seed: int) -> list[TextPair]:
    """Read or sample the comparisons to train on."""
    if data is None:
        return sentiment_pairs("train", n, texts=rated_texts(["movies"]), seed=seed)
    return divide(hh_pairs() if data == "hh" else comparisons(data))[0]


def held_out_pairs(data: str | None) -> dict[str, list[TextPair]]:
    """Read or sample the comparisons to test on: held-out ones first, then those of other domains."""
    if data is not None:
        return {"held-out pairs": divide(hh_pairs() if data == "hh" else comparisons(data))[1]}
    tests = {
        "held-out films": ("movies", "validation"),
        "tweets": ("tweets", "train"),  # the model was trained on none of them
        "products": ("products", "train"),
    }
    return {
        name: sentiment_pairs(side, N_HELD_OUT, texts=rated_texts([source]))  # type: ignore[arg-type, list-item]
        for name, (source, side) in tests.items()
    }


def sides(pair: TextPair) -> tuple[str, str]:
    """Write the chosen and the rejected text, each after the prompt if there is one."""
    prompt = "".join(f"{message['role']}: {message['content']}\n" for message in pair.prompt)
    return prompt + pair.chosen, prompt + pair.rejected


def texts_of(pairs: list[TextPair]) -> list[str]:
    """Return the different texts of all pairs, sorted."""
    return sorted({text for pair in pairs for text in sides(pair)})
