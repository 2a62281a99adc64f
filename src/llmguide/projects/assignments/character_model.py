"""Assignment: a character-level language model from an empty file."""

from collections.abc import Sequence
from math import exp

from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.acceptance import Criterion, below
from llmguide.projects.adapters import Decoding, Model, bits
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.character_model import documents, known_word_fraction

N_CHARACTERS = 20_000  # held-out characters that are measured
WINDOW = 64  # characters of a completion, and most characters of its prompt
N_SAMPLES, PROMPT = 16, 32  # completions, and the characters of their prompts


def measure(model: Model) -> Sequence[Criterion]:
    """Require fewer bits than a 5-gram model, proper probabilities, and mostly real words."""
    seen, held_out = ("\n".join(documents(None, side)) for side in ("train", "validation"))
    known = set(seen)
    text = "".join(character for character in held_out if character in known)[:N_CHARACTERS]
    n_bytes = len(text.encode())
    ngram = ngram_bits_per_byte(seen.encode(), text.encode(), 5) * n_bytes / len(text)
    total = sum(exp(model.logprob(text[:WINDOW], character)) for character in sorted(known))
    starts = range(0, len(text) - PROMPT, max(1, len(text) // N_SAMPLES))
    written = [model.generate(text[start : start + PROMPT]) for start in starts]
    words = known_word_fraction(written, seen)
    return [
        Criterion(
            "sum of the probabilities of the next character", total, "0.99 to 1.001", 0.99 < total < 1.001
        ),
        below("bits per held-out character", bits(model, text, WINDOW) / len(text), ngram, "5-gram model"),
        Criterion("fraction of its longer words that the corpus has", words, "at least 0.75", words >= 0.75),
    ]


ASSIGNMENT = Assignment(
    project="character-model",
    goal="Train a decoder-only Transformer that writes presidential addresses character by character, from "
    "an empty file: tokenizer, attention, block, loss, loop and sampling are yours. It has to beat a 5-gram "
    "model.",
    data="from llmguide.projects.character_model import documents\n\n"
    'texts = documents(None, "train")  # addresses since 1961; the check measures on others\n'
    "train_texts, validation_texts = texts[:-10], texts[-10:]\n"
    'characters = "".join(sorted(set("".join(train_texts))))',
    steps=(
        Step(
            "a tokenizer",
            "Tokens are characters. Encoding and decoding must be exact inverses for known characters.",
            1,
            1,
            ("character-encode", "character-decode"),
        ),
        Step(
            "attention and a block",
            "Write causal attention and a pre-norm block as functions of tensors. Then make modules of "
            "them in "
            "`train.py`: token and position embeddings, four blocks of width 128, a final norm and a head.",
            3,
            5,
            ("causal-mask", "attention", "split-heads", "multi-head", "block"),
        ),
        Step(
            "the loss",
            "Predict each character from those before it. Before training, the loss of your model should be "
            "close to ln(vocabulary size).",
            1,
            1,
            ("next-token-loss", "bits"),
        ),
        Step(
            "the training loop",
            "Write the loop with plain gradient descent as a function. In `train.py`, use AdamW with "
            "warmup and "
            "decay, log the training and validation loss, and print a sample every few hundred steps.",
            2,
            3,
            ("train-loop", "warmup-cosine"),
        ),
        Step(
            "sampling",
            "Generate text token by token, with a temperature.",
            1,
            1,
            ("temperature", "generate-ids"),
        ),
        Step(
            "train and compare",
            "Train a model of about a million parameters. Then vary the learning rate, the batch size and "
            "the context length, one at a time, with two seeds each.",
            2,
            4,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("logprob", "generate"),
    contract="`logprob` gets up to 64 characters as the prompt, which can be empty, and up to 64 as the "
    "completion. Characters that are not in the training text are removed beforehand. The probabilities of "
    "the next character have to sum to 1. `generate` gets 32 characters and returns about 90; sample at a "
    "temperature of about 0.8.",
    decoding=Decoding(max_new_tokens=90, temperature=0.8),
    deliverables=(
        Deliverable(
            "A trained model that writes text in the style of its domain",
            "The check passes. Four samples are shown, the first ones rather than the best.",
            "The model also beats a 7-gram model, or the report shows why it does not at this size.",
        ),
        Deliverable(
            "Training metrics",
            "Curves of training and validation loss in bits per character, with samples at four steps.",
            "The curves explain a decision, such as when to stop or which learning rate to use.",
        ),
        Deliverable(
            "Hyperparameter experiments",
            "A table of learning rate, batch size and context length, two seeds each.",
            "Each effect is predicted beforehand, and compared with the range over seeds.",
        ),
    ),
    measure=measure,
)
