"""Assignment: fine-tune a language model for one task, with all weights and with LoRA."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.fine_tuning.data import part, sentences
from llmguide.projects.fine_tuning.metrics import CLASSIFY, baselines
from llmguide.projects.fine_tuning.project import TASKS

TASK = TASKS[CLASSIFY]
FREQUENT = "the most frequent answer"


def measure(model: Model) -> Sequence[Criterion]:
    """Require more right ages than the most frequent one gives."""
    every = sentences()
    test = part(every, "test", TASK.n_test)
    often = baselines(CLASSIFY, part(every, "train", len(every)), test)[FREQUENT]
    frequent = sum(age == example.target for age, example in zip(often, test, strict=True)) / len(test)
    answers = [model.generate(f"{TASK.prefix}{example.source}{TASK.suffix}").strip() for example in test]
    right = [float(text == example.target) for text, example in zip(answers, test, strict=True)]
    low = cluster_bootstrap_interval(right, [example.group for example in test]).low
    return [above("accuracy on held-out speeches, lower bound", low, frequent, FREQUENT)]


ASSIGNMENT = Assignment(
    project="fine-tuning",
    goal="Fine-tune a small language model to tell from which age a sentence of a speech is, with all "
    "weights and with your own LoRA layer, and compare the two.",
    data="from llmguide.projects.fine_tuning.data import part, sentences\n\n"
    "examples = sentences()  # each has a source, a sentence, and a target: old or new\n"
    'train_examples = part(examples, "train", 5000)\n'
    'validation_examples = part(examples, "validation", 500)\n'
    f"prompts = [{TASK.prefix!r} + example.source + {TASK.suffix!r} for example in train_examples]",
    steps=(
        Step(
            "input-output pairs and the loss mask",
            "Write prompt and target as one sequence. Only the target, with an end token, is trained on.",
            2,
            2,
            ("sft-targets",),
        ),
        Step(
            "LoRA",
            "Write the adapted layer, count its parameters, and merge it. In `train.py`, replace the linear "
            "layers of the base, whose weights stay frozen; B starts at zero.",
            2,
            4,
            ("lora", "lora-params", "merge-lora"),
        ),
        Step(
            "early stopping",
            "Evaluate every few steps, stop without a better loss, and restore the best checkpoint.",
            1,
            2,
            ("best-step",),
        ),
        Step(
            "train and compare",
            "Fine-tune with all weights and with LoRA of ranks 1, 8 and 64. Compare accuracy, memory and "
            "size of the checkpoint.",
            2,
            6,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("generate",),
    contract=f"`generate` gets `{TASK.prefix!r} + sentence + {TASK.suffix!r}`, and must return `old` or "
    "`new`; "
    f"white space around it is ignored. There are {TASK.n_test} prompts.",
    decoding=Decoding(max_new_tokens=TASK.max_new_tokens),
    deliverables=(
        Deliverable(
            "A fine-tuned model that performs well on a held-out test set",
            "The check passes: better than the most frequent answer, by the lower 95% bound.",
            "It also beats naive Bayes on the same sentences, which is right on more than nine in ten.",
        ),
        Deliverable(
            "Full fine-tuning and LoRA compared",
            "A table of accuracy with intervals, trainable parameters, memory and time.",
            "An interval of the difference on the same examples, over two seeds and tuned learning rates.",
        ),
        Deliverable(
            "Overfitting shown and prevented",
            "Training and validation loss of a run that overfits, and the step that early stopping restores.",
            "The same for a second task with ROUGE or BLEU, such as docstrings.",
        ),
    ),
    measure=measure,
)
