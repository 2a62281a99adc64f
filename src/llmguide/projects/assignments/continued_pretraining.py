"""Assignment: continue the pre-training of a language model on a domain."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion, above, below
from llmguide.projects.analysis.held_out_bits import best_ngram_bits, excerpts, rate_difference
from llmguide.projects.assignments.assignment import PRETRAINED, Assignment, Deliverable, Step
from llmguide.projects.continued_pretraining.data import POOL, Plan, domain, general, texts
from llmguide.projects.learner_model import Decoding, Model, bits
from llmguide.projects.logprob_probes import require_log_probabilities

N_DOCUMENTS = 50  # held-out documents of the domain, and at most as many of general text
EXCERPT = 400  # characters of each; shorter documents are left out
WINDOW = 200  # characters of a completion; at most this many of its prompt


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require that the model beats its base and an n-gram model on the domain, and loses less elsewhere."""
    plan, held_out, changes = Plan(), {}, {}
    of_model: dict[str, list[float]] = {}  # bits of each document
    for name, corpus in (("domain", domain(plan)), ("general", general(plan))):
        parts = [
            part for part in excerpts(texts(corpus, "validation", POOL), EXCERPT) if len(part) == EXCERPT
        ]
        held_out[name] = parts[:N_DOCUMENTS]
        if name == "domain":
            for each in (base, model):
                require_log_probabilities(each, "\n".join(parts), "")
        of_base, of_model[name] = (
            [bits(each, text, WINDOW) for text in held_out[name]] for each in (base, model)
        )
        changes[name] = rate_difference(of_model[name], of_base, held_out[name])
    _, counted = best_ngram_bits(texts(domain(plan), "train", plan.characters), held_out["domain"])
    of_ngram = [float(each.sum()) for each in counted]
    against_ngram = rate_difference(of_model["domain"], of_ngram, held_out["domain"])
    return [
        below("bits per byte of the domain minus the base's, upper bound", changes["domain"]["high"], 0),
        below("the same minus the best n-gram model's, upper bound", against_ngram["high"], 0),
        above(
            "bits per byte gained on the domain, minus those lost on general text",
            -changes["domain"]["score"] - changes["general"]["score"],
            0,
        ),
    ]


ASSIGNMENT = Assignment(
    project="continued-pretraining",
    goal="Adapt a pretrained language model to a domain, the source code of Python's standard library. "
    "Measure how much it improves on the domain and how much it forgets of general text.",
    chapters=("learn/pretraining",),
    reference="SmolLM2-135M with LoRA adapters of rank 16 in the upper half of its blocks, trained for 24 "
    "steps of 4 windows of 128 tokens, with a peak learning rate of 0.0005. A run takes about five minutes "
    "on one core. The default run is a miniature with 319,968 parameters, which does not pass this check.",
    data_notes="The check scores documents of the validation side of both corpora, "
    '`texts(domain(Plan()), "validation", ...)` and the same of `general`. Do not train on them. If you use '
    f"`open_pretrained`: {PRETRAINED}",
    data="from llmguide.projects.continued_pretraining.data import Plan, domain, general, texts\n\n"
    'domain_texts = texts(domain(Plan()), "train", 4_000_000)\n'
    'replay_texts = texts(general(Plan()), "train", 4_000_000)  # speeches; replay them to reduce forgetting',
    steps=(
        Step(
            "a base and its score",
            "Choose a base model of at most a few hundred million parameters, such as GPT-2 or SmolLM2-135M; "
            "`open_pretrained` of `llmguide.projects.pretrained` opens either. A small base that you trained "
            "for minutes will hardly beat the n-gram model of the check. Write `logprob` in "
            "`base_adapter.py`, and measure the bits per byte of the base before you train.",
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
            "The check passes: fewer bits per byte on the domain than the base, and fewer than an n-gram "
            "model of the best order, each by a 95% interval over documents that is below 0; and a gain on "
            "the domain that is larger than the loss on general text.",
            "The model also beats the model trained from scratch.",
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
