"""Assignment: continue the pre-training of a language model on a domain."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.continued_pretraining import Plan, domain, general, texts
from llmguide.projects.learner_model import Decoding, Model, bits
from llmguide.projects.logprob_probes import require_log_probabilities

N_CHARACTERS = 20_000  # held-out characters of the domain, and of general text
WINDOW = 200  # characters of a completion; at most this many of its prompt
MIN_GAIN = 0.1  # threshold of the relative reduction of bits per byte on the domain


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require that the model gains on the domain, and loses less than that on general text."""
    plan, gains = Plan(), {}
    held_out = {
        name: "\n".join(texts(corpus, "validation", N_CHARACTERS))[:N_CHARACTERS]
        for name, corpus in (("domain", domain(plan)), ("general", general(plan)))
    }
    for each in (base, model):
        require_log_probabilities(each, held_out["domain"], "")
    for name, text in held_out.items():
        before, after = (bits(each, text, WINDOW) / len(text.encode()) for each in (base, model))
        gains[name] = (before - after, before)
    gain, before = gains["domain"]
    return [
        above("relative reduction of bits per byte of the domain", gain / before, MIN_GAIN),
        above(
            "bits per byte gained on the domain, minus those lost on general text",
            gain + gains["general"][0],
            0,
        ),
    ]


ASSIGNMENT = Assignment(
    project="continued-pretraining",
    goal="Adapt a pretrained language model to a domain, the source code of Python's standard library. "
    "Measure how much it improves on the domain and how much it forgets of general text.",
    data="from llmguide.projects.continued_pretraining import Plan, domain, general, texts\n\n"
    'domain_texts = texts(domain(Plan()), "train", 4_000_000)\n'
    'replay_texts = texts(general(Plan()), "train", 4_000_000)  # speeches; replay them to reduce forgetting',
    steps=(
        Step(
            "a base and its score",
            "Choose a base model of at most a few hundred million parameters, such as GPT-2, SmolLM2-135M "
            "or a model that you trained; `open_pretrained` of `llmguide.projects.pretrained` opens any of "
            "them. Write `logprob` in `base_adapter.py`, and measure the bits per byte of the base before "
            "you train.",
            2,
            3,
            ("bits-per-byte",),
        ),
        Step(
            "what to train",
            "In one run, freeze the embeddings and the lower half of the blocks. In another run, train all "
            "parameters.",
            1,
            1,
            ("freeze",),
        ),
        Step(
            "schedule and batch size",
            "Use a learning rate with warmup and decay. Accumulate gradients over several micro-batches "
            "where the whole batch does not fit into memory.",
            2,
            3,
            ("warmup-cosine", "accumulate"),
        ),
        Step(
            "checkpoints",
            "Save the weights, the optimizer state and the position in the data. Kill a run and resume it. "
            "It must end with the same loss as a run without interruption.",
            2,
            3,
            ("resume",),
        ),
        Step(
            "train and compare",
            "Compare three runs with the same number of tokens: the domain alone; three quarters domain and "
            "one quarter general text; the domain alone with the lower half frozen. Also train a model of "
            "the same architecture from scratch on the domain.",
            2,
            8,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 3),
    ),
    functions=("logprob",),
    contract="`logprob` gets a prompt of at most 200 characters, which can be empty, and a completion of at "
    "most 200 characters. It returns the log-probability of the completion in nats. Score every token of the "
    "completion; if both do not fit into the context of your model, drop the beginning of the prompt.",
    decoding=Decoding(max_new_tokens=64),
    deliverables=(
        Deliverable(
            "A specialized model with measurably better domain performance",
            "The check passes: more than 10% fewer bits per byte on the domain than the base, and a gain on "
            "the domain that is larger than the loss on general text.",
            "The model also beats the model trained from scratch and an n-gram model of the domain.",
        ),
        Deliverable(
            "Before and after",
            "A table of bits per byte on the domain and on general text for the base and every run.",
            "Two seeds for each run, and completions of the same ten prompts before and after training.",
        ),
        Deliverable(
            "A resumed training run",
            "Loss curves of an uninterrupted run and a resumed run that end at the same loss.",
            "Every tensor of the two final models is equal.",
        ),
    ),
    measure=measure,
    base_functions=("logprob",),
)
