"""Assignment: adapt a language model to one task with full fine-tuning and with LoRA."""

from collections.abc import Sequence
from operator import sub

from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.analysis.bootstrap import cluster_bootstrap_interval
from llmguide.projects.assignments.assignment import PRETRAINED, Assignment, Deliverable, Step
from llmguide.projects.fine_tuning.data import part, sentences
from llmguide.projects.fine_tuning.metrics import CLASSIFY, baselines
from llmguide.projects.fine_tuning.project import MARGIN, TASKS
from llmguide.projects.learner_model import Decoding, Model

TASK = TASKS[CLASSIFY]
FREQUENT = "the most frequent answer"


def measure(lora: Model, full: Model) -> Sequence[Criterion]:
    """Require that LoRA beats the most frequent answer and is not far behind full fine-tuning."""
    every = sentences()
    test = part(every, "test", TASK.n_test)
    often = baselines(CLASSIFY, part(every, "train", len(every)), test)[FREQUENT]
    frequent = sum(age == example.target for age, example in zip(often, test, strict=True)) / len(test)
    right, right_full = (
        [
            float(model.generate(f"{TASK.prefix}{example.source}{TASK.suffix}").strip() == example.target)
            for example in test
        ]
        for model in (lora, full)
    )
    groups = [example.group for example in test]
    low = cluster_bootstrap_interval(right, groups).low
    gap = cluster_bootstrap_interval(list(map(sub, right, right_full)), groups).low
    return [
        above("accuracy on held-out speeches, lower bound", low, frequent, FREQUENT),
        above("LoRA minus full fine-tuning, lower bound", gap, -MARGIN),
    ]


ASSIGNMENT = Assignment(
    project="fine-tuning",
    goal="Fine-tune a small language model to classify whether a sentence comes from a speech given in or "
    "before 1900 (old), or in or after 1950 (new). Compare full fine-tuning with your own LoRA layer.",
    chapters=("learn/post-training", "learn/post-training/adapters"),
    reference="SmolLM2-135M, trained for at most 64 steps of 8 examples of at most 48 tokens: full "
    "fine-tuning with a peak learning rate of 0.00005, and LoRA of rank 8 on all linear layers (2,442,240 "
    "trained parameters) with 0.003. A run fine-tunes for two tasks. It takes about 25 minutes of "
    "processor time and 4.1 GB of memory.",
    data_notes=f'The check asks the first {TASK.n_test} examples of `part(examples, "test", ...)`. Do not '
    f"train on this part. {PRETRAINED}",
    data="from llmguide.projects.fine_tuning.data import part, sentences\n"
    "from llmguide.projects.pretrained import open_pretrained\n\n"
    'base, tokenizer = open_pretrained("smollm2-135m-instruct")  # or another pretrained model\n'
    "examples = sentences()  # source is a sentence; target is old or new\n"
    'train_examples = part(examples, "train", 5000)\n'
    'validation_examples = part(examples, "validation", 500)\n'
    f"prompts = [{TASK.prefix!r} + example.source + {TASK.suffix!r} for example in train_examples]",
    steps=(
        Step(
            "input-output pairs and the loss mask",
            "Concatenate the prompt, the target and an end token into one sequence. Compute the loss only on "
            "the target and the end token.",
            2,
            2,
            ("sft-targets",),
        ),
        Step(
            "LoRA",
            "Write a linear layer with a LoRA adapter, count the trainable parameters, and merge the adapter "
            "into the weight: the merged layer must give the same output. In `train.py`, replace the linear "
            "layers of the base model by such layers. Freeze the base weights, and initialize B to zero.",
            2,
            4,
            ("lora", "lora-params", "merge"),
        ),
        Step(
            "early stopping",
            "Measure the validation loss every few steps. Stop when it has not improved for several "
            "evaluations, and restore the checkpoint with the lowest validation loss.",
            1,
            2,
            ("best-step",),
        ),
        Step(
            "train and compare",
            "Run full fine-tuning and LoRA with ranks 1, 8 and 64. Compare the accuracy, the peak memory and "
            "the size of the checkpoint. Choose the rank that you hand in by the validation loss.",
            2,
            6,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("generate",),
    contract=f"`generate` gets `{TASK.prefix!r} + sentence + {TASK.suffix!r}` and must return `old` or "
    f"`new`. White space around the answer is ignored. There are {TASK.n_test} prompts.",
    decoding=Decoding(max_new_tokens=TASK.max_new_tokens),
    deliverables=(
        Deliverable(
            "A fine-tuned model that performs well on a held-out test set",
            "The check passes: the lower 95% bound of LoRA's accuracy is above the accuracy of the most "
            f"frequent answer, and that of its difference to full fine-tuning is above -{MARGIN}.",
            "The model also beats naive Bayes, which is right on more than 90% of the same sentences.",
        ),
        Deliverable(
            "Full fine-tuning and LoRA compared",
            "A table of accuracy with 95% intervals, trainable parameters, peak memory and training time.",
            "A 95% interval of the difference in accuracy on the same examples, with two seeds, and with a "
            "learning rate that is tuned for each method.",
        ),
        Deliverable(
            "Overfitting and its prevention",
            "Curves of the training and validation loss of a run that overfits, with the step that early "
            "stopping restores.",
            "The same for a second task that is evaluated with ROUGE or BLEU, such as writing docstrings.",
        ),
    ),
    measure=measure,
    base_functions=("generate",),
    subject="your model with LoRA",
    base="your model after full fine-tuning",
)
