"""Assignment: RLHF with PPO."""

from collections.abc import Sequence

from llmguide.projects.acceptance import Criterion, above
from llmguide.projects.adapters import Decoding, Model
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.rlhf.data import Plan, splits
from llmguide.projects.rlhf.evaluation import N_PROMPTS, distinct_2, raters_of_words, win_rate_of
from llmguide.projects.rlhf.project import MIN_DISTINCT, RATERS


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require that independent raters prefer the policy to the SFT policy, and that it stays diverse."""
    data = splits(Plan(), seed=0)
    prompts = data.prompts[:N_PROMPTS]
    completions = [[each.generate(prompt) for prompt in prompts] for each in (model, base)]
    whole = [[a + b for a, b in zip(prompts, texts, strict=True)] for texts in completions]
    criteria = [
        above(f"win rate by the {RATERS[name]}, lower bound", win_rate_of(*map(rate, whole)).low, 0.5)
        for name, rate in raters_of_words(data, with_lexicon=True).items()
    ]
    policy, sft = map(distinct_2, completions)
    distinct = policy / sft if sft else 0.0
    return [*criteria, above("distinct-2, as a fraction of the SFT policy's", distinct, MIN_DISTINCT)]


ASSIGNMENT = Assignment(
    project="rlhf",
    goal="Run RLHF: fine-tune a policy that completes film reviews, train a reward model, and maximize it "
    "with your own PPO. Raters that PPO was not trained on have to prefer the result to the SFT policy.",
    data="from llmguide.projects.rlhf.data import Plan, splits\n\n"
    "data = splits(Plan(), seed=0)\n"
    "demonstrations = data.demonstrations  # pairs of a prompt and its completion, for the SFT policy\n"
    "comparisons = data.comparisons  # each has chosen and rejected, for the reward model",
    steps=(
        Step(
            "SFT policy and reward model",
            "Fine-tune the policy on the demonstrations, and train a reward model on the comparisons. Write "
            "`generate` in `base_adapter.py` for the SFT policy.",
            2,
            6,
            ("bradley-terry", "last-token-reward"),
        ),
        Step(
            "rewards and KL penalty",
            "Every token pays for its log-ratio to the reference model, and the last one gets the score.",
            2,
            3,
            ("kl", "kl-estimate", "token-rewards"),
        ),
        Step(
            "advantages",
            "Compute generalized advantage estimates from the end of a completion to its start.",
            2,
            3,
            ("gae",),
        ),
        Step(
            "the clipped losses",
            "One for the policy, one for the value model.",
            2,
            3,
            ("ppo-clip", "value-loss"),
        ),
        Step(
            "the PPO loop",
            "Hold four models: policy, value model, reward model and reference model. Sample a batch of "
            "completions, score them, and take a few optimizer steps. Log KL, reward, entropy, clip "
            "fraction and length in every step.",
            3,
            15,
        ),
        Step(
            "over-optimization",
            "Train with three KL coefficients, and plot the reward and the raters against the KL.",
            2,
            6,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 4),
    ),
    functions=("generate",),
    contract="`generate` gets the first four words of a review, and returns about 24 tokens that continue "
    "it, "
    f"beginning with a space; sample at temperature 1. There are {N_PROMPTS} prompts. The raters are a bag "
    "of words from other comparisons, and a lexicon that people rated word by word.",
    decoding=Decoding(max_new_tokens=Plan().max_new_tokens, temperature=1.0),
    deliverables=(
        Deliverable(
            "A policy with measurably better preference ratings than the SFT baseline",
            "The check passes: both raters prefer it by the lower 95% bound, and distinct-2 stays above "
            "half.",
            "It passes with two seeds, and at a lower KL than the reference solution's.",
        ),
        Deliverable(
            "Training stability",
            "Curves of KL, reward, entropy and clip fraction, and one run that went wrong.",
            "The report shows which curve gave the first sign.",
        ),
        Deliverable(
            "Examples before and after",
            "Twenty prompts with the completions of both policies, the first ones rather than the best.",
            "Three people compare them blindly.",
        ),
    ),
    measure=measure,
    compares=True,
)
