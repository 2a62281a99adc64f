"""Assignment: continue the pre-training of a language model on a domain."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.adapters import Decoding, Model, bits
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.continued_pretraining import Plan, domain, general, texts

N_CHARACTERS = 20_000  # held-out characters of each kind
WINDOW = 200  # characters of a completion, and most characters of its prompt
MIN_GAIN = 0.1  # relative reduction of the bits per byte of the domain


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require that the domain is learned, and that less is forgotten than learned."""
    plan, gains = Plan(), {}
    for name, corpus in (("domain", domain(plan)), ("general", general(plan))):
        text = "\n".join(texts(corpus, "validation", N_CHARACTERS))[:N_CHARACTERS]
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
    goal="Adapt a pretrained language model to a domain, the source of Python's standard library, and "
    "measure what it learns and what it forgets.",
    data="from llmguide.projects.continued_pretraining import Plan, domain, general, texts\n\n"
    'domain_texts = texts(domain(Plan()), "train", 4_000_000)\n'
    'replay_texts = texts(general(Plan()), "train", 4_000_000)  # speeches, against forgetting',
    steps=(
        Step(
            "a base and its score",
            "Choose a base of at most a few hundred million parameters, such as GPT-2 or SmolLM2-135M, or "
            "one "
            "that you trained. Write `logprob` in `base_adapter.py`, and measure the base before anything "
            "else.",
            2,
            3,
            ("bits-per-byte",),
        ),
        Step(
            "what to train",
            "Freeze the embeddings and the lower half of the blocks in one run, and nothing in another.",
            1,
            1,
            ("freeze",),
        ),
        Step(
            "schedule and batch size",
            "Warm the learning rate up and let it decay. Accumulate gradients where the batch does not fit.",
            2,
            3,
            ("warmup-cosine", "accumulate"),
        ),
        Step(
            "checkpoints",
            "Save weights, optimizer state and position in the data. Kill a run and resume it: both must end "
            "with the same loss.",
            2,
            3,
            ("resume",),
        ),
        Step(
            "train and compare",
            "Compare three runs of the same number of tokens: the domain alone; with a quarter of general "
            "text; with the lower half frozen. Also train the same model from scratch on the domain.",
            2,
            8,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 3),
    ),
    functions=("logprob",),
    contract="`logprob` gets up to 200 characters as the prompt, which can be empty, and up to 200 as the "
    "completion. Predict every token of the completion; if your context is shorter, truncate the prompt.",
    decoding=Decoding(max_new_tokens=64),
    deliverables=(
        Deliverable(
            "A specialized model with measurably better domain performance",
            "The check passes: at least 10% fewer bits per byte of the domain, and more gained than "
            "forgotten.",
            "It also beats the model trained from scratch, and an n-gram model of the domain.",
        ),
        Deliverable(
            "Before and after",
            "A table of bits per byte on the domain and on general text for the base and every run.",
            "Two seeds each, and a completion of the same ten prompts before and after.",
        ),
        Deliverable(
            "A resumed training",
            "Loss curves of an uninterrupted and a resumed run that end at the same loss.",
            "The two final models are equal, tensor by tensor.",
        ),
    ),
    measure=measure,
    compares=True,
)
