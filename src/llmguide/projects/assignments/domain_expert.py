"""Assignment: a domain expert that abstains when it does not know."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.domain_expert.base import Plan, curated_facts
from llmguide.projects.domain_expert.benchmark import benchmark
from llmguide.projects.domain_expert.metrics import frequent, summary
from llmguide.projects.domain_expert.project import MAX_NEW_TOKENS, criteria_of
from llmguide.projects.domain_expert.templates import OUTSIDE, UNKNOWN
from llmguide.projects.learner_model import Decoding, Model


def measure(model: Model) -> Sequence[Criterion]:
    """Require right answers, abstention, refusals off topic, and few over-refusals."""
    plan = Plan()
    facts = curated_facts(plan.n_names)
    asked = benchmark(facts.known, facts.unread, plan.n_test)
    answers = [model.generate(pair.question).strip() for pair in asked]
    return criteria_of(summary(asked, answers), summary(asked, frequent(facts, asked))["right"])


ASSIGNMENT = Assignment(
    project="domain-expert",
    goal="Build an expert on Python's standard library that answers questions about names that it knows, "
    "abstains on names that it does not know, and refuses questions about anything else.",
    chapters=("learn/post-training", "learn/pretraining/data"),
    reference="A decoder with 3 layers of width 128 (855,936 parameters), pre-trained for 400 steps with a "
    "peak learning rate of 0.003, and fine-tuned for 300 steps of 16 conversations with 0.0004. A run "
    "trains one base and three experts in about three minutes on one core.",
    larger_run="The page also reports a run on SmolLM2-135M, with LoRA adapters in the upper half of its "
    "blocks and 60 names:\n\n"
    "```console\n"
    "llmguide project domain-expert --base smollm2-135m-instruct --lora-rank 16 --rate 1.5e-3 "
    "--n-steps 320 --batch-size 4 --n-windows 4 --context-length 80 --n-names 60 --n-test 6 "
    "--no-ablations\n"
    "```\n\n"
    "It takes about 13 minutes of processor time, and each of three seeds fails the check, probably after "
    "too little training. The model is right on 17% to 48% of the questions about facts that it has only "
    "read (95% intervals from 6% to 68%). It abstains on 22% to 83% of the questions about unseen real "
    "names (0% to 100%), where the lower bound has to be above 70%.",
    data_notes="`facts.known` are about names in `pretraining_texts`; the training data answers questions "
    "about `facts.unknown` with an abstention. `facts.unread` are in the benchmark only. Do not train on "
    "them or on `questions`. `conversations` leaves both out.",
    data="from llmguide.projects.domain_expert.base import Plan, base_texts, curated_facts\n"
    "from llmguide.projects.domain_expert.dataset import conversations\n"
    "from llmguide.projects.domain_expert.benchmark import benchmark\n\n"
    "plan = Plan()\n"
    "facts = curated_facts(plan.n_names)\n"
    "pretraining_texts = base_texts(facts, 0)  # to pre-train a base, or for continued pre-training\n"
    "questions = benchmark(facts.known, facts.unread, plan.n_test)  # asked by the check; not for training\n"
    "by_kind, _ = conversations(facts, [], questions)  # known, unknown and off-topic questions\n"
    "pairs = [pair for some in by_kind.values() for pair in some]  # each has a .question and an .answer",
    steps=(
        Step(
            "synthetic data",
            "Let a strong model write more questions about `facts.known`. Filter them, and remove duplicates "
            "and questions that are in the benchmark.",
            2,
            8,
            ("similarity", "match-probability"),
        ),
        Step(
            "curriculum",
            "Order the conversations by difficulty, for example by the base model's loss on the answer.",
            1,
            3,
            ("easy-first",),
        ),
        Step(
            "fine-tuning",
            "Compute the loss on the answers only. Include the pairs whose answer is an abstention or a "
            "refusal.",
            2,
            6,
            ("turn-mask", "sft-targets"),
        ),
        Step(
            "the benchmark",
            "Measure accuracy, over-refusal and abstention. Each rate says little without the others: a "
            "model that always abstains has a perfect abstention rate.",
            2,
            4,
            ("abstention-rates",),
        ),
        Step(
            "guardrails",
            "Put checks around the model. Before it, refuse harmful requests and questions outside the "
            "field. After it, withhold an answer that no fact about the name supports. Measure what each "
            "check stops, and how many right answers it withholds. Leave the checks out of `adapter.py`, "
            "which is about what the model has learned.",
            2,
            4,
            ("answer-guardrail",),
        ),
        Step(
            "train and compare",
            "Compare the curriculum with random order, and training with and without refusals. Add a "
            "general-purpose model as a baseline: give it the same questions and a prompt that explains the "
            "task.",
            3,
            12,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 5),
    ),
    functions=("generate",),
    contract="`generate` gets a question without a chat template and returns the answer. An answer is right "
    "if it equals the expected answer, which is worded as in the training data; white space around it is "
    f"ignored. The abstention is `{UNKNOWN}` and the refusal is `{OUTSIDE}`",
    decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS, chat=True),
    deliverables=(
        Deliverable(
            "A domain expert",
            "The check passes: accuracy above that of the most frequent answer, a refusal rate above 80%, an "
            "abstention rate above 70%, and an over-refusal rate below 30%, each by its 95% bound.",
            "The check passes with two seeds.",
        ),
        Deliverable(
            "An evaluation report",
            "Accuracy and the rates of refusal, abstention and over-refusal, by kind of question and with "
            "95% intervals, for each condition, and with and without the guardrails.",
            "The same rates for a general-purpose model on the same questions.",
        ),
        Deliverable(
            "Hallucinations",
            "Twenty wrong answers, grouped by type of error.",
            "The report measures which facts a model can guess from a name alone.",
        ),
    ),
    measure=measure,
)
