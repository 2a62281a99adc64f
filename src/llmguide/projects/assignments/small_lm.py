"""Assignment: a small language model from scratch, with its own tokenizer."""

from collections.abc import Sequence

from llmguide.evaluation.ngram_baseline import ngram_bits_per_byte
from llmguide.projects.acceptance import Criterion, below
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.learner_model import Decoding, Model, bits
from llmguide.projects.logprob_probes import require_log_probabilities
from llmguide.projects.small_lm.evaluation import HELD_OUT_CHARACTERS, texts_of
from llmguide.projects.small_lm.project import MAX_ERROR, lossless, predicted

N_CHARACTERS = 2_000_000  # limit of the training text, for the model and for the n-gram model
WINDOW = 200  # characters of a completion; at most this many of its prompt
NOT_ASCII = "na\u00efve, \u4e2d, \U0001f600"  # two, three and four bytes; the held-out text is ASCII


def measure(model: Model) -> Sequence[Criterion]:
    """Require a lossless tokenizer, a right prediction, and fewer bits per byte than a 4-gram model."""
    seen = "\n".join(texts_of(None, "train", N_CHARACTERS))
    held_out = texts_of(None, "validation", HELD_OUT_CHARACTERS)
    text = "\n".join(held_out)
    require_log_probabilities(model, text, "")
    ngram = ngram_bits_per_byte(seen.encode(), text.encode(), 4)
    bits_per_byte = bits(model, text, WINDOW) / len(text.encode())
    criteria = [
        below("bits per held-out byte", bits_per_byte, ngram, "4-gram model of the same training text")
    ]
    if {"encode", "decode"} <= model.functions.keys():
        criteria.append(lossless(sum(model.round_trip(part) != part for part in (*held_out, NOT_ASCII))))
    if "predicted_bits_per_byte" in model.functions:
        criteria.append(predicted(model.predicted_bits_per_byte() / bits_per_byte))
    return criteria


ASSIGNMENT = Assignment(
    project="small-lm",
    goal="Pre-train a language model from scratch with your own tokenizer. Predict the loss of the largest "
    "model from the losses of smaller models before you train it. The training text has "
    f"{N_CHARACTERS / 1e6:g} million characters.",
    chapters=("learn/concepts/tokens", "learn/pretraining", "learn/pretraining/scale"),
    reference="Decoders with 2 layers of width 32, 48 and 64, and one with 3 layers of width 96, whose "
    "loss is predicted: 58,016 to 430,752 parameters. Each is trained for 300 steps of 16 windows of 128 "
    "tokens (0.61 million tokens), with a vocabulary of 1,024 and a peak learning rate of 0.003. A run "
    "takes about three minutes on one core.",
    data_notes="Do not train on `held_out`, neither the model nor the tokenizer. The 4-gram model of the "
    "check, counted on all of `train_texts`, needs 1.97 bits per byte of it. The check cuts `held_out` "
    f"every {WINDOW} characters, also within words. A tokenizer writes half a word with other tokens than "
    "the whole, so cut some of the training text at random places before you encode it.",
    data="from llmguide.projects.small_lm.evaluation import texts_of\n\n"
    f'train_texts = texts_of(None, "train", {N_CHARACTERS})\n'
    f'held_out = texts_of(None, "validation", {HELD_OUT_CHARACTERS})  # the check scores it',
    steps=(
        Step(
            "a tokenizer",
            "Train byte-level BPE with a vocabulary of about 1,000 tokens. Decoding the ids of a text must "
            "give back the text exactly. A `bpe_train` that counts all pairs again before each merge needs "
            "about a minute for 768 merges, if each distinct word of `train_texts` is in `words` once.",
            3,
            6,
            ("bpe-train", "bpe-encode"),
        ),
        Step(
            "data loading",
            "Pack the documents into one sequence, cut it into windows, shuffle the windows, and divide them "
            "among several processes. Two processes on one machine are enough for a test.",
            2,
            4,
            ("packed-positions", "rank-batch"),
        ),
        Step(
            "optimizer and stability",
            "Write AdamW and gradient-norm clipping. Make the learning rate, the betas, eps and the weight "
            "decay keyword arguments of `adamw`, with the values of the task as defaults, so that `train.py` "
            "can pass others. Train once with a learning rate that is far too high, "
            "and write down a rule for when to stop a run or to go back to a checkpoint.",
            2,
            6,
            ("adamw", "clip-norm", "next-token-loss"),
        ),
        Step(
            "speed and memory",
            "Use bf16 autocast and gradient checkpointing. With and without each of them, measure tokens per "
            "second, model FLOPs utilization (MFU) and peak memory.",
            2,
            6,
            ("mfu",),
        ),
        Step(
            "scaling",
            "Train models of three sizes on the same tokens. Fit a power law with an irreducible loss to "
            "them, L(C) = L0 + a * C ** -b, and predict the bits per byte of a fourth, larger model on "
            "`held_out`. `extrapolate` has no irreducible loss: subtract L0 from the losses, call it, and "
            "add L0 to the result. Measure all models as the check does. Write the prediction into "
            "`adapter.py` before you train the fourth model.",
            3,
            12,
            ("chinchilla", "extrapolate-loss"),
        ),
        Step(
            "evaluation",
            "Measure bits per byte, accuracy at predicting the last word of a passage (as in LAMBADA), and "
            "accuracy at choosing the right continuation (as in HellaSwag). Make both tests from `held_out`: "
            "the last words of pairs of sentences, and the second half of a sentence among the second halves "
            "of three others.",
            2,
            4,
            ("bits-per-byte", "choose-continuation"),
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 4),
    ),
    functions=("logprob",),
    contract="`logprob` gets a prompt of at most 200 characters, which can be empty, and a completion of at "
    "most 200 characters. It returns the log-probability of the completion in nats. Score every token of the "
    "completion; if both do not fit into the context of your model, drop the beginning of the prompt. The "
    "check scores `held_out`, joined by newlines, in chunks of 200 characters, each after the one before it. "
    "`encode` returns a list of ints, and `decode(encode(text))` must give back every text, also characters "
    "that are not ASCII. `predicted_bits_per_byte` must be within "
    f"{MAX_ERROR:.0%} of the measured value.",
    decoding=Decoding(max_new_tokens=64),
    deliverables=(
        Deliverable(
            "A pretrained model",
            "The check passes: fewer bits per byte than a 4-gram model trained on the same text, and a "
            "tokenizer that gives back every text.",
            "The model also beats a 5-gram model.",
        ),
        Deliverable(
            "A documented training run with loss curves",
            "Curves of the loss, gradient norm, learning rate and throughput for every size, and for one run "
            "that diverged.",
            "The report names the first step at which the curves show the divergence.",
        ),
        Deliverable(
            "Benchmark results",
            "Last-word and multiple-choice accuracy with 95% intervals, next to chance accuracy.",
            "Results on LAMBADA and HellaSwag themselves, next to published results of a model of similar "
            "size.",
        ),
        Deliverable(
            "A scaling law",
            f"The bits per byte of all sizes, and a prediction for the largest within {MAX_ERROR:.0%}.",
            "Models are also trained on different numbers of tokens, so that the fit separates the effect of "
            "model size from the effect of data.",
        ),
    ),
    measure=measure,
    optional=("encode", "decode", "predicted_bits_per_byte"),
)
