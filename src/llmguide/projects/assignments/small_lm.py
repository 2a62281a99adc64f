"""Assignment: a small language model from scratch, with its own tokenizer."""

from collections.abc import Sequence

from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.acceptance import Criterion, below
from llmguide.projects.adapters import Decoding, Model, bits
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.small_lm.evaluation import HELD_OUT_CHARACTERS, texts_of

N_CHARACTERS = 2_000_000  # most characters of training text, for the model and for the n-gram model
WINDOW = 200  # characters of a completion, and most characters of its prompt


def measure(model: Model) -> Sequence[Criterion]:
    """Require fewer bits per byte than a 4-gram model of the same text."""
    seen = "\n".join(texts_of(None, "train", N_CHARACTERS))
    text = "\n".join(texts_of(None, "validation", HELD_OUT_CHARACTERS))
    ngram = ngram_bits_per_byte(seen.encode(), text.encode(), 4)
    return [
        below(
            "bits per held-out byte",
            bits(model, text, WINDOW) / len(text.encode()),
            ngram,
            "4-gram model of the same text",
        )
    ]


ASSIGNMENT = Assignment(
    project="small-lm",
    goal="Pre-train a language model from scratch with a tokenizer of your own, and predict the loss of the "
    f"largest size from the smaller ones before you train it. You have {N_CHARACTERS / 1e6:g} million "
    "characters.",
    data="from llmguide.projects.small_lm.evaluation import texts_of\n\n"
    f'train_texts = texts_of(None, "train", {N_CHARACTERS})  # the check measures on other documents',
    steps=(
        Step(
            "a tokenizer",
            "Train byte-level BPE with about a thousand ids. Decoding must give back every text.",
            3,
            6,
            ("bpe-train", "bpe-encode"),
        ),
        Step(
            "data loading",
            "Pack the documents into one sequence, shuffle windows of it, and deal them out to several "
            "processes. Two processes on one machine are enough to test it.",
            2,
            4,
            ("packed-positions", "rank-batch"),
        ),
        Step(
            "optimizer and stability",
            "Write AdamW and clip the gradient norm. Train once with a learning rate that is far too high, "
            "and decide when to stop or to go back to a checkpoint.",
            2,
            6,
            ("adamw", "clip-norm", "next-token-loss"),
        ),
        Step(
            "speed and memory",
            "Use bf16 autocast and gradient checkpointing, and measure tokens per second and MFU with and "
            "without each.",
            2,
            6,
            ("mfu",),
        ),
        Step(
            "scaling",
            "Train three sizes on the same tokens, fit a power law, and predict the loss of a fourth. "
            "Write the prediction down before you train it.",
            3,
            12,
            ("chinchilla", "extrapolate-loss"),
        ),
        Step(
            "evaluation",
            "Measure bits per byte, the last word of passages (as in LAMBADA) and multiple-choice "
            "continuations (as in HellaSwag).",
            2,
            4,
            ("bits-per-byte", "choose-continuation"),
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 4),
    ),
    functions=("logprob",),
    contract="`logprob` gets up to 200 characters as the prompt, which can be empty, and up to 200 as the "
    "completion. Predict every token of the completion; if your context is shorter, truncate the prompt.",
    decoding=Decoding(max_new_tokens=64),
    deliverables=(
        Deliverable(
            "A pretrained model",
            "The check passes: fewer bits per byte than a 4-gram model of the same text.",
            "It also beats a 5-gram model.",
        ),
        Deliverable(
            "A documented training run with loss curves",
            "Loss, gradient norm, learning rate and throughput of every size, and one run that diverged.",
            "The report names the first step at which the divergence could have been seen.",
        ),
        Deliverable(
            "Benchmark results",
            "Last-word and multiple-choice accuracy with 95% intervals, next to chance.",
            "The real LAMBADA and HellaSwag, with the published numbers of a model of similar size.",
        ),
        Deliverable(
            "A scaling law",
            "The predicted and the measured loss of the largest size.",
            "Sizes trained on different numbers of tokens separate the limits of model and data.",
        ),
    ),
    measure=measure,
)
