"""Assignment: a reward model trained on human comparisons."""

from collections.abc import Sequence

from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences.baselines import accuracy_interval, preferred
from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.learner_model import Decoding, Model
from llmguide.projects.reward_model.data import held_out_pairs
from llmguide.projects.reward_model.project import MIN_ACCURACY


def measure(model: Model) -> Sequence[Criterion]:
    """Require the accuracy that the project requires on held-out films, and above chance elsewhere."""
    criteria = []
    for i, (name, pairs) in enumerate(held_out_pairs(None).items()):
        low = lowest_accuracy(model, pairs)
        criteria.append(above(f"accuracy on {name}, lower bound", low, 0.5 if i else MIN_ACCURACY))
    return criteria


def lowest_accuracy(model: Model, pairs: Sequence[TextPair]) -> float:
    """Return the lower 95% bound of the accuracy of a reward model on comparisons without prompts."""
    texts = dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected))
    rewards = {text: model.reward("", text) for text in texts}
    right = [preferred(rewards[pair.chosen], rewards[pair.rejected]) for pair in pairs]
    return accuracy_interval(right, [pair.units for pair in pairs]).low


ASSIGNMENT = Assignment(
    project="reward-model",
    goal="Train a reward model on human comparisons of film review snippets, and analyze what it has "
    "learned.",
    chapters=("learn/post-training/rewards-and-rl",),
    reference="A decoder with 4 layers of width 128 (1,053,824 parameters), pre-trained for 300 steps of 32 "
    "windows of 64 tokens with a peak learning rate of 0.003, then trained for one epoch of 8,000 pairs with "
    "0.001. A run takes about five minutes on one core.",
    larger_run="The page also reports a run on SmolLM2-135M, with LoRA adapters in the upper half of its "
    "lowest 12 blocks:\n\n"
    "```console\n"
    "llmguide project reward-model --base smollm2-135m-instruct --batch-size 16 --reward-steps 120 "
    "--n-edited 300\n"
    "```\n\n"
    "It takes about 10 minutes of processor time. In three seeds, its accuracy is 72.6% to 74.7% on "
    "held-out films (95% intervals from 70.0% to 77.1%), 70.9% to 77.2% on tweets (68.0% to 79.4%) and "
    "66.3% to 71.5% on product reviews (63.5% to 74.0%). It is not measurably better than a bag-of-words "
    "model on films: the difference is +1.0 to +2.6 points (-2.1 to +5.4).",
    data_notes="The check asks `held_out_pairs(None)` of `llmguide.projects.reward_model`: pairs of snippets "
    "about other films, of tweets and of product reviews. Do not train on them.",
    data="from llmguide.data.splits import in_validation\n"
    "from llmguide.projects.reward_model.data import training_pairs\n\n"
    "pairs = training_pairs(None, 12_000, seed=0)  # chosen, rejected, units (names of both)\n"
    "sides = [[in_validation(name, 0.2) for name in pair.units] for pair in pairs]\n"
    "train_pairs = [pair for pair, side in zip(pairs, sides) if not any(side)]\n"
    "validation_pairs = [pair for pair, side in zip(pairs, sides) if all(side)]  # other texts",
    steps=(
        Step(
            "the loss",
            "Write the Bradley-Terry loss. For two equal rewards, the loss must be ln 2.",
            1,
            1,
            ("bradley-terry",),
        ),
        Step(
            "the head",
            "Replace the output head of a language model by a vector of size d_model. Its dot product with "
            "the hidden state of the last token of a text is the reward.",
            2,
            2,
            ("last-token-reward",),
        ),
        Step(
            "the training loop",
            "Pre-train a small language model on the texts of `train_pairs`, or load one. Continue when its "
            "loss is below 5 nats per token, with a vocabulary of about 2,000 tokens; `torch.optim.Muon` for "
            "the matrices of the blocks gets there in fewer steps than AdamW. Then score the chosen and the "
            "rejected texts in one batch. One epoch is enough, because each text is in several pairs.",
            2,
            5,
            ("warmup-cosine",),
        ),
        Step(
            "evaluation",
            "Measure the accuracy, and compare it with two baselines: the longer text wins, and a "
            "bag-of-words model.",
            2,
            3,
            ("pair-accuracy",),
        ),
        Step(
            "what it has learned",
            "Measure the correlation of the reward with the length of the text. Edit texts without changing "
            "their meaning, and measure how much the reward changes.",
            2,
            3,
        ),
        Step("report", "Fill in `adapter.py`, run the check, and write `REPORT.md`.", 1, 2),
    ),
    functions=("reward",),
    contract="`reward` gets an empty string as the prompt, and as the completion a snippet of a film review, "
    "a tweet or a product review. There are about 7,700 texts. Only the order of the rewards matters.",
    decoding=Decoding(max_new_tokens=1),
    deliverables=(
        Deliverable(
            "A reward model with more than 60% accuracy",
            "The check passes: the lower 95% bound of the accuracy is above 60% on held-out films, and above "
            "50% on tweets and on product reviews.",
            "The model also beats a bag-of-words model on the same pairs; the 95% interval of the difference "
            "in accuracy excludes zero.",
        ),
        Deliverable(
            "What the reward model has learned",
            "The correlation of the reward with length and with counts of words, and the effect of four "
            "kinds of edits.",
            "A change to the data or the loss that removes one of the biases, and its effect on accuracy.",
        ),
        Deliverable(
            "Out-of-distribution results",
            "Accuracy on tweets and on product reviews, with 95% intervals.",
            "The report explains where the model fails, with ten pairs that it ranks wrongly.",
        ),
    ),
    measure=measure,
)
