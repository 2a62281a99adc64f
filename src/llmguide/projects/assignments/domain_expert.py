"""Assignment: an expert on a domain that abstains where it does not know."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.domain_expert.base import Plan, curated_facts
from llmguide.projects.domain_expert.metrics import frequent, summary
from llmguide.projects.domain_expert.project import MAX_NEW_TOKENS, N_TEST, criteria_of
from llmguide.projects.domain_expert.templates import OUTSIDE, UNKNOWN, benchmark


def measure(model: Model) -> Sequence[Criterion]:
    """Require right answers, abstention, refusals off topic, and few over-refusals."""
    facts = curated_facts(Plan().n_names)
    asked = benchmark(facts.known, facts.unread, N_TEST)
    answers = [model.generate(pair.question).strip() for pair in asked]
    return criteria_of(summary(asked, answers), summary(asked, frequent(facts, asked))["right"])


ASSIGNMENT = Assignment(
    project="domain-expert",
    goal="Build an expert on Python's standard library that answers what it knows, abstains on names that "
    "it does not know, and refuses questions about anything else.",
    data="from llmguide.projects.domain_expert.base import Plan, base_texts, curated_facts\n"
    "from llmguide.projects.domain_expert.dataset import conversations\n"
    "from llmguide.projects.domain_expert.project import N_TEST\n"
    "from llmguide.projects.domain_expert.templates import benchmark\n\n"
    "facts = curated_facts(Plan().n_names)\n"
    "pretraining_texts = base_texts(facts, 0)  # for the base, or for continued pre-training\n"
    "questions = benchmark(facts.known, facts.unread, N_TEST)  # the check asks these: do not train on them\n"
    "pairs, _ = conversations(facts, [], questions)  # lists of pairs with question and answer, by behavior",
    steps=(
        Step(
            "synthetic data",
            "Let a strong model write more questions about `facts.known`. Filter what it writes, and remove "
            "duplicates and questions of the benchmark.",
            2,
            8,
            ("similarity", "match-probability"),
        ),
        Step(
            "curriculum",
            "Order the conversations by difficulty, such as the loss of the base on the answer.",
            1,
            3,
            ("easy-first",),
        ),
        Step(
            "fine-tuning",
            "Only the answers are trained on. Some of the pairs teach to abstain or to refuse.",
            2,
            6,
            ("turn-mask", "sft-targets"),
        ),
        Step(
            "the benchmark",
            "Measure accuracy, over-refusal and abstention; one without the others says little.",
            2,
            4,
            ("abstention-rates",),
        ),
        Step(
            "train and compare",
            "Compare random order with the curriculum, and training with and without refusals. Add a general "
            "model as a baseline, with the same questions and a prompt that explains the task.",
            3,
            12,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 5),
    ),
    functions=("generate",),
    contract="`generate` gets a question without any template. Answers are compared as strings with those "
    "of the "
    f"training data; `{UNKNOWN}` is the abstention and `{OUTSIDE}` the refusal.",
    decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS, chat=True),
    deliverables=(
        Deliverable(
            "A domain expert",
            "The check passes: accuracy above the most frequent answer, refusals above 80%, abstentions "
            "above 70%, over-refusals below 30%.",
            "It passes with two seeds.",
        ),
        Deliverable(
            "An evaluation report",
            "The four rates by kind of question, with intervals, for each condition.",
            "A general-purpose model is measured on the same questions.",
        ),
        Deliverable(
            "Hallucinations",
            "Twenty wrong answers, sorted by what went wrong.",
            "The report says which facts can be guessed from a name, and measures it.",
        ),
    ),
    measure=measure,
)
