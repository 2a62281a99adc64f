"""Assignment: Constitutional AI and DPO."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.constitutional_ai.data import Plan
from llmguide.projects.constitutional_ai.evaluation import held_out_questions, score_answers
from llmguide.projects.constitutional_ai.project import criteria_of


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require right answers in each test, and more refusals under new attacks than before."""
    right, before = (
        score_answers(
            {
                test: [each.generate(question.text) for question in asked]
                for test, asked in held_out_questions().items()
            }
        )["right"]
        for each in (model, base)
    )
    return criteria_of("model", right, before)


ASSIGNMENT = Assignment(
    project="constitutional-ai",
    goal="Align an assistant without human labels of harm: let a model critique and revise responses by a "
    "constitution, make preference pairs of them, and train with your own DPO.",
    data="from llmguide.projects.constitutional_ai.data import critic_questions, demonstrations\n"
    "from llmguide.projects.constitutional_ai.principles import constitution\n\n"
    "principles = constitution()  # or a file of your own\n"
    "examples = demonstrations(20_000, seed=0)  # question and answer of a sycophantic assistant, the start\n"
    "questions = critic_questions(4_000, seed=0)  # the critic sees answers to these",
    steps=(
        Step(
            "a helpful-only assistant",
            "Fine-tune a model on the demonstrations. Write `generate` in `base_adapter.py` for it.",
            2,
            5,
            ("turn-mask",),
        ),
        Step(
            "a constitution",
            "Write at least four principles of your own, with a critique request each.",
            1,
            3,
        ),
        Step(
            "critique and revision",
            "Let a model critique and revise the assistant's own responses: the assistant, a larger model, "
            "or one behind an OpenAI-compatible endpoint. Read fifty revisions before you train on any.",
            2,
            8,
            ("critique-prompt", "revision-prompt"),
        ),
        Step(
            "preference pairs",
            "Make pairs of responses and revisions, or let the model choose between two responses, asked "
            "in both orders.",
            1,
            3,
            ("preference-pairs",),
        ),
        Step(
            "DPO",
            "Write the loss from the log-probabilities of whole responses, and train. Watch the "
            "log-probability of the chosen responses: it may fall.",
            3,
            8,
            ("sequence-logprob", "dpo"),
        ),
        Step(
            "compare and attack",
            "Compare DPO with PPO, or with fine-tuning on the revisions alone, on the same data. Write ten "
            "attacks of your own.",
            3,
            12,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 5),
    ),
    functions=("generate",),
    contract="`generate` gets a question without any template. A refusal begins with `I will not`; the other "
    "answers are those of the training data. The questions are held out, and some are phrased as attacks "
    "that are not in the training data.",
    decoding=Decoding(max_new_tokens=Plan().max_new_tokens, temperature=1.0, chat=True),
    deliverables=(
        Deliverable(
            "An aligned model",
            "The check passes: harmful requests refused, benign ones answered, more refusals under attack.",
            "It passes with two seeds and a critic that is a model, not a table of answers.",
        ),
        Deliverable(
            "A safety evaluation",
            "Accuracy by test with intervals, the bias score, and the over-refusal rate.",
            "TruthfulQA and BBQ, with the published numbers of a model of similar size.",
        ),
        Deliverable(
            "A constitution and its effect",
            "The principles, ten critiques with their revisions, and how often each principle objects.",
            "An ablation of one principle.",
        ),
        Deliverable(
            "DPO compared on the same data",
            "A table of DPO and one alternative, with intervals.",
            "The comparison uses the same compute and tuned learning rates.",
        ),
    ),
    measure=measure,
    compares=True,
)
