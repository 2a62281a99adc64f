"""Assignment: a reward model of human comparisons."""

from collections.abc import Sequence

from llmguide.post_training.preferences.baselines import accuracy_interval, preferred
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.reward_model import MIN_ACCURACY, held_out_pairs


def measure(model: Model) -> Sequence[Criterion]:
    """Require the accuracy that the project requires, on held-out films and out of distribution."""
    criteria = []
    for i, (name, pairs) in enumerate(held_out_pairs(None).items()):
        texts = dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected))
        rewards = {text: model.reward("", text) for text in texts}
        right = [preferred(rewards[pair.chosen], rewards[pair.rejected]) for pair in pairs]
        low = accuracy_interval(right, [pair.units for pair in pairs]).low
        criteria.append(above(f"accuracy on {name}, lower bound", low, 0.5 if i else MIN_ACCURACY))
    return criteria


ASSIGNMENT = Assignment(
    project="reward-model",
    goal="Train a reward model on human comparisons of film review snippets, and find out what it has "
    "learned.",
    data="from llmguide.projects.reward_model import training_pairs\n\n"
    "pairs = training_pairs(None, 8000, seed=0)  # each has chosen, rejected, and the units they come from\n"
    "train_pairs, validation_pairs = pairs[:-500], pairs[-500:]  # texts are in several pairs",
    steps=(
        Step(
            "the loss",
            "Write the Bradley-Terry loss. Two equal rewards must give ln 2.",
            1,
            1,
            ("bradley-terry",),
        ),
        Step(
            "the head",
            "Replace the output head of a language model by one row, applied to the last token of a text.",
            2,
            2,
            ("last-token-reward",),
        ),
        Step(
            "the training loop",
            "Score chosen and rejected texts in one batch. Pre-train or load the language model first. One "
            "epoch is enough: texts are in several pairs.",
            2,
            5,
            ("warmup-cosine",),
        ),
        Step(
            "evaluation",
            "Measure the accuracy, and compare with two baselines: the longer text wins, and a bag of words.",
            2,
            3,
            ("pair-accuracy",),
        ),
        Step(
            "what it has learned",
            "Correlate the reward with length. Edit texts without changing their meaning, and measure the "
            "change.",
            2,
            3,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("reward",),
    contract="`reward` gets an empty prompt and a snippet of a film review, a tweet or a product review, "
    "about 6,000 texts in all. Only the order of the rewards counts.",
    decoding=Decoding(max_new_tokens=1),
    deliverables=(
        Deliverable(
            "A reward model with more than 60% accuracy",
            "The check passes: above 60% on held-out films by the lower 95% bound.",
            "It also beats a bag of words on the same pairs, by an interval that excludes zero.",
        ),
        Deliverable(
            "What the reward model has learned",
            "Correlations with length and word counts; the effect of four edits.",
            "A change of the data or the loss that removes one of the biases, with the accuracy it costs.",
        ),
        Deliverable(
            "Out-of-distribution results",
            "Accuracy on tweets and product reviews, with intervals.",
            "The report explains where it fails with ten wrong pairs.",
        ),
    ),
    measure=measure,
)
