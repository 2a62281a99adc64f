"""Assignment: a character-level language model, written from scratch."""

from collections.abc import Sequence

from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.acceptance import Criterion, at_least, below
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.character_model.metrics import known_word_fraction
from llmguide.projects.character_model.project import documents
from llmguide.projects.learner_model import Decoding, Model, bits
from llmguide.projects.logprob_probes import next_character_sum, require_log_probabilities

N_CHARACTERS = 20_000  # held-out characters that are evaluated
WINDOW = 64  # characters of a completion; at most this many of its prompt
N_SAMPLES, PROMPT = 16, 32  # approximate number of completions; characters of each prompt


def measure(model: Model) -> Sequence[Criterion]:
    """Require fewer bits than a 5-gram model, normalized probabilities, and mostly real words."""
    seen, held_out = ("\n".join(documents(None, side)) for side in ("train", "validation"))
    known = set(seen)
    text = "".join(character for character in held_out if character in known)[:N_CHARACTERS]
    require_log_probabilities(model, text, "")
    n_bytes = len(text.encode())
    ngram = ngram_bits_per_byte(seen.encode(), text.encode(), 5) * n_bytes / len(text)
    total = next_character_sum(model, text[:WINDOW], sorted(known))
    starts = range(0, len(text) - PROMPT, max(1, len(text) // N_SAMPLES))
    written = [model.generate(text[start : start + PROMPT]) for start in starts]
    words = known_word_fraction(written, seen)
    return [
        Criterion(
            "sum of the probabilities of the next character", total, "0.99 to 1.001", 0.99 < total < 1.001
        ),
        below("bits per held-out character", bits(model, text, WINDOW) / len(text), ngram, "5-gram model"),
        at_least(
            "fraction of its words of four or more letters that occur in the training text", words, 0.75
        ),
    ]


ASSIGNMENT = Assignment(
    project="character-model",
    goal="Train a decoder-only Transformer that writes presidential addresses character by character. You "
    "write everything but the rotary positions and the optimizer: the tokenizer, attention, the block, the "
    "loss, the training loop and sampling. The model has to beat a 5-gram model in bits per character.",
    chapters=("learn/transformer", "learn/pretraining"),
    reference="A decoder with 4 layers of width 128 (804,096 parameters), trained for 2,000 steps of 8 "
    "windows of 128 characters, with a peak learning rate of 0.003. A run takes about five minutes on one "
    "core.",
    data_notes=f"The check scores the first {N_CHARACTERS:,} characters of "
    '`documents(None, "validation")`. Do not train on these documents.',
    data="from llmguide.projects.character_model.project import documents\n\n"
    'texts = documents(None, "train")  # State of the Union addresses since 1961\n'
    "train_texts, validation_texts = texts[:-10], texts[-10:]\n"
    'characters = "".join(sorted(set("".join(train_texts))))',
    steps=(
        Step(
            "a tokenizer",
            "Each character is one token. Decoding must exactly undo encoding for every text that has only "
            "characters of the vocabulary.",
            1,
            1,
            ("character-encode", "character-decode"),
        ),
        Step(
            "attention and a block",
            "Write causal attention and a pre-norm block as functions of tensors. Then build a "
            "`torch.nn.Module` from them in `train.py`: token embeddings, four blocks with d_model = 128, a "
            "final norm and an output head. Use a context of at least 128 characters. For the positions, "
            "rotate queries and keys in front of your `attention`, with `apply_rope` and `rope_tables` of "
            "llmguide. In one run each, learned position embeddings needed 3.4 bits per validation character "
            "after 250 steps with Muon, and rotary positions 2.9.",
            3,
            5,
            ("rms-norm", "causal-mask", "attention", "split-heads", "attention-head", "multi-head", "block"),
        ),
        Step(
            "the loss",
            "Predict each character from the characters before it. Before training, the loss of your model "
            "in nats per character should be close to ln(vocabulary size).",
            1,
            1,
            ("next-token-loss", "bits"),
        ),
        Step(
            "the training loop",
            "Write a training loop with plain gradient descent as a function. In `train.py`, use "
            "`torch.optim.AdamW`, or `torch.optim.Muon` for the matrices of the blocks and AdamW for the "
            "rest, as the reference solution does. Warm the learning rate up to about 3e-3 and decay it, log "
            "the training and validation loss, and print a sample every few hundred steps.",
            2,
            3,
            ("train-loop", "warmup-cosine"),
        ),
        Step(
            "sampling",
            "Apply a temperature to the logits, and generate text token by token. If the text is longer "
            "than the context of the model, keep its last tokens.",
            1,
            1,
            ("temperature",),
        ),
        Step(
            "train and compare",
            "Train a model of about a million parameters on about 2 million characters, such as 2,000 steps "
            "of eight windows. If the validation loss is still above 3 bits after 500 steps, look for a "
            "mistake before you train longer. Then vary the learning rate, the batch size and "
            "the context length one at a time, with two seeds for each setting.",
            2,
            4,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("logprob", "generate"),
    contract="`logprob` gets a prompt of at most 64 characters, which can be empty, and a completion of at "
    "most 64 characters. It returns the log-probability of the completion in nats. An empty prompt is the "
    "start of a text. The held-out text has only characters that occur in the training text. The "
    "probabilities of these characters after a prompt have to sum to 1. `generate` gets a prompt of 32 "
    "characters and returns about 90 new characters; sample at a temperature of about 0.8.",
    decoding=Decoding(max_new_tokens=90, temperature=0.8),
    deliverables=(
        Deliverable(
            "A trained model that writes text in the style of its domain",
            "The check passes: fewer bits per character than a 5-gram model, and at least 75% of the words "
            "of four or more letters that the model writes occur in the training text. The report shows the "
            "first four samples, not the best four.",
            "The model also beats a 7-gram model, or the report shows why it does not at this size.",
        ),
        Deliverable(
            "Training metrics",
            "Curves of training and validation loss in bits per character, and samples from four steps of "
            "training.",
            "The report uses the curves to justify a decision, such as when to stop or which learning rate "
            "to use.",
        ),
        Deliverable(
            "Hyperparameter experiments",
            "A table of the validation loss for each learning rate, batch size and context length, with two "
            "seeds each.",
            "The report predicts each effect before the run, and compares it with the range over seeds.",
        ),
    ),
    measure=measure,
)
