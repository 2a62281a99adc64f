"""Assignment: tune a language model to follow instructions of many types."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.instruction_tuning.data import ask
from llmguide.projects.instruction_tuning.evaluation import (
    MAX_NEW_TOKENS,
    held_out_prompts,
    most_frequent,
    right_answers,
    summary,
)
from llmguide.projects.instruction_tuning.models import Plan
from llmguide.projects.instruction_tuning.project import criteria_of


def measure(model: Model) -> Sequence[Criterion]:
    """Require more right answers than the most frequent one gives, on each kind of prompt."""
    plan = Plan()
    prompts, frequent = held_out_prompts(plan), most_frequent(plan)
    baseline = [float(frequent[prompt.item.type] == prompt.item.answer) for prompt in prompts]
    right = right_answers(prompts, [model.generate(ask(*prompt)).strip() for prompt in prompts])
    return criteria_of(summary(plan, prompts, right), summary(plan, prompts, baseline))


ASSIGNMENT = Assignment(
    project="instruction-tuning",
    goal="Tune a pretrained model on instructions of nine types, and measure it on seen types, on "
    "paraphrases and on four types that it was never trained on.",
    data="from llmguide.projects.instruction_tuning.data import HELD_OUT, ask, reply, shown, "
    "training_items\n\n"
    "items = training_items(None, HELD_OUT)  # a list of items for each type\n"
    "pairs = [(ask(item, i), reply(item)) for some in items.values() for item in some for i in "
    "shown(item.type)]",
    steps=(
        Step(
            "chat format and loss mask",
            "Write instruction and reply in the chat template of your base. Only the reply and its end "
            "token are trained on.",
            2,
            3,
            ("turn-mask", "sft-targets"),
        ),
        Step(
            "the mixture",
            "The types differ in size. Sample them with a temperature.",
            1,
            1,
            ("mixing-rates",),
        ),
        Step(
            "QLoRA",
            "Store the frozen weights in four bits, and train LoRA adapters on top. Compare the loss of the "
            "quantized base with that of the base.",
            3,
            6,
            ("four-bits", "lora"),
        ),
        Step(
            "sampling",
            "Write temperature, top-p and greedy decoding, and compare them on the validation items.",
            1,
            2,
            ("temperature", "top-p"),
        ),
        Step(
            "train and compare",
            "Train with three mixtures, and with another source of instructions added. Read thirty replies.",
            2,
            10,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 3),
    ),
    functions=("generate",),
    contract="`generate` gets an instruction without any template, and returns the reply. The last words "
    'count: a reply such as "3 plus 4 is 7." is right if it ends with the right answer. There are about '
    "250 prompts.",
    decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS, chat=True),
    deliverables=(
        Deliverable(
            "An instruction-tuned model that generalizes to unseen task types",
            "The check passes on seen types and paraphrases; the result on held-out types is reported.",
            "The check passes on held-out types, too.",
        ),
        Deliverable(
            "The data mixture",
            "Sources, licenses, sizes and rates; accuracy by type for three mixtures.",
            "An ablation of the added source, with an interval of the difference.",
        ),
        Deliverable(
            "A qualitative evaluation",
            "Thirty replies, each marked for following the instruction and for being correct.",
            "A second person marks them independently; agreement is reported.",
        ),
    ),
    measure=measure,
)
