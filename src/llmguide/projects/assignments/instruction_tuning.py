"""Assignment: instruction-tune a language model on instructions of many types."""

from collections.abc import Sequence
from statistics import fmean

from llmguide.projects.acceptance import Criterion
from llmguide.projects.assignments.assignment import PRETRAINED, Assignment, Deliverable, Step
from llmguide.projects.instruction_tuning.data import ask
from llmguide.projects.instruction_tuning.evaluation import (
    MAX_NEW_TOKENS,
    held_out_prompts,
    kind_of,
    most_frequent,
    right_answers,
    summary,
)
from llmguide.projects.instruction_tuning.models import Plan
from llmguide.projects.instruction_tuning.project import TITLES, criteria_of
from llmguide.projects.learner_model import Decoding, Model
from llmguide.runs.tables import Columns, Table, show


def measure(model: Model) -> Sequence[Criterion]:
    """Require a higher accuracy than that of the most frequent answer, on each kind of prompt.

    The accuracy and the number of prompts of each kind and task are printed.
    """
    plan = Plan()
    prompts, frequent = held_out_prompts(plan), most_frequent(plan)
    baseline = [float(frequent[prompt.item.type] == prompt.item.answer) for prompt in prompts]
    right = right_answers(prompts, [model.generate(ask(*prompt)).strip() for prompt in prompts])
    by_task: dict[tuple[str, str], list[float]] = {}
    for prompt, is_right in zip(prompts, right, strict=True):
        kind = TITLES[kind_of(plan, prompt)]
        for task in (prompt.item.type, "all tasks"):
            by_task.setdefault((kind, task), []).append(is_right)
    rows = [
        {"prompts": kind, "task": task, "accuracy": fmean(scores), "n": len(scores)}
        for (kind, task), scores in sorted(by_task.items(), key=lambda item: item[0][0])
    ]
    columns: Columns = {"prompts": str, "task": str, "accuracy": lambda rate: f"{rate:.1%}", "n": str}
    show(Table("accuracy by task", columns, rows), as_json=False)
    return criteria_of(summary(plan, prompts, right), summary(plan, prompts, baseline))


ASSIGNMENT = Assignment(
    project="instruction-tuning",
    goal="Instruction-tune a pretrained model on eleven tasks. Evaluate it on new items of the "
    "seen tasks, on paraphrased instructions, and on four held-out tasks.",
    chapters=("learn/post-training", "learn/post-training/adapters"),
    reference="SmolLM2-135M with LoRA adapters of rank 8, trained for 40 steps of 8 conversations of at "
    "most 64 tokens, with a peak learning rate of 0.001. A run makes several such fine-tunings for "
    "comparison. It takes about 19 minutes of processor time and 3.9 GB of memory.",
    data_notes="An item has a `type` (its task) and an `answer`. `ask(item, i)` is its instruction in "
    "wording i, `reply(item)` the reply, and `shown(type)` lists the wordings for training. The check asks "
    "items that `training_items` leaves out, in these wordings and in one more, and the four tasks in "
    "`HELD_OUT`. Do not train on other items or tasks of `llmguide.projects.instruction_tuning`. "
    f"{PRETRAINED}",
    data="from llmguide.projects.instruction_tuning.data import HELD_OUT, ask, reply, shown\n"
    "from llmguide.projects.instruction_tuning.data import training_items\n"
    "from llmguide.projects.pretrained import open_pretrained\n\n"
    'base, tokenizer = open_pretrained("smollm2-135m-instruct")  # or another pretrained model\n'
    "items = training_items(None, HELD_OUT)  # a list of items for each task\n"
    "every = [item for some in items.values() for item in some]\n"
    "pairs = [(ask(item, i), reply(item)) for item in every for i in shown(item.type)]",
    steps=(
        Step(
            "chat format and loss mask",
            "Write the instruction and the reply in the chat template of your base model. That of SmolLM2, "
            "without its system message, is `<|im_start|>user\\n`, the instruction, `<|im_end|>\\n`, "
            "`<|im_start|>assistant\\n`, the reply and `<|im_end|>`. Compute the loss only on the reply and "
            "its end token.",
            2,
            3,
            ("turn-mask", "sft-targets"),
        ),
        Step(
            "the mixture",
            "The tasks have different numbers of items, so `pairs` has few of some of them. Sample from "
            "`items` by task, with a mixing temperature, so that "
            "the large tasks do not dominate.",
            1,
            1,
            ("mixing-rates",),
        ),
        Step(
            "QLoRA",
            "Store the frozen weights in 4 bits, and train LoRA adapters on top. Compare the loss of the "
            "quantized base model with the loss of the original.",
            3,
            6,
            ("four-bits", "lora"),
        ),
        Step(
            "sampling",
            "Write sampling with a decoding temperature, top-p sampling and greedy decoding, and compare "
            "them on validation items that you hold out from `items`.",
            1,
            2,
            ("temperature", "top-p"),
        ),
        Step(
            "train and compare",
            "Train with three mixing temperatures, and then with a second source of instructions, such as "
            "Dolly (`databricks/databricks-dolly-15k` on the Hugging Face hub) or a file of your own, as "
            "pairs of an instruction and its reply. Read thirty replies.",
            2,
            10,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 3),
    ),
    functions=("generate",),
    contract="`generate` gets an instruction without a chat template and returns the reply. For tasks whose "
    'training replies are sentences, such as "3 plus 4 is 7.", the text after the last " is " has to equal '
    "the right answer, apart from a final period. For the other tasks, the whole reply has to equal it. "
    "White space around the reply is ignored. There are 328 prompts.",
    decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS, chat=True),
    deliverables=(
        Deliverable(
            "An instruction-tuned model that generalizes to held-out tasks",
            "On seen tasks and on paraphrases, the lower 95% bound of the accuracy is above the accuracy of "
            "the most frequent answer of each task. The report states the result on held-out tasks.",
            'The same on held-out tasks; only then does the check print "passed".',
        ),
        Deliverable(
            "The data mixture",
            "Sources, licenses, sizes and sampling rates, and the accuracy by task for three mixtures.",
            "An ablation of the second source, with a 95% interval of the difference in accuracy.",
        ),
        Deliverable(
            "A qualitative evaluation",
            "Thirty replies, each rated for following the instruction and for correctness.",
            "A second person rates them independently, and the report states the agreement.",
        ),
    ),
    measure=measure,
)
