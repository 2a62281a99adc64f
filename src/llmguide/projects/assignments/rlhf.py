"""Assignment: RLHF with PPO."""

from collections.abc import Sequence
from math import inf

from llmguide.projects.acceptance import Criterion, above, below
from llmguide.projects.assignments.assignment import Assignment, Deliverable, Step
from llmguide.projects.assignments.reward_model import lowest_accuracy
from llmguide.projects.learner_model import Decoding, Model
from llmguide.projects.logprob_probes import require_log_probabilities
from llmguide.projects.rlhf.data import Plan, splits
from llmguide.projects.rlhf.evaluation import N_PROMPTS, distinct_2, raters_of_words, win_rate_of
from llmguide.projects.rlhf.project import MIN_ACCURACY, RATERS, diverse
from llmguide.runs.folder import say

MIN_LENGTH_RATIO = 0.8  # below it, a warning
MAX_NLL_RATIO = 1.1  # the project allows half a nat per token more, and its SFT policy has five


def measure(model: Model, base: Model) -> Sequence[Criterion]:
    """Require a good reward model, and that raters prefer the policy, which stays diverse and likely."""
    data = splits(Plan(), seed=0)
    prompts = data.prompts[:N_PROMPTS]
    require_log_probabilities(base, " ".join(prompts), prompts[0])
    completions = [[each.generate(prompt) for prompt in prompts] for each in (model, base)]
    whole = [[a + b for a, b in zip(prompts, texts, strict=True)] for texts in completions]
    criteria = [
        above(f"win rate by the {RATERS[name]}, lower bound", win_rate_of(*map(rate, whole)).low, 0.5)
        for name, rate in raters_of_words(data, with_lexicon=True).items()
    ]
    policy_nll, sft_nll = (
        -sum(map(base.logprob, prompts, texts)) / max(1, sum(map(len, texts))) for texts in completions
    )
    lengths = [sum(map(len, texts)) / len(texts) for texts in completions]
    say(f"mean length of the completions: {lengths[0]:.1f} characters, of the SFT policy's: {lengths[1]:.1f}")
    if lengths[0] < MIN_LENGTH_RATIO * lengths[1]:
        say("warning: the completions are much shorter; they may have won by their length. See REPORT.md")
    criteria += [
        diverse(*map(distinct_2, completions)),
        below(
            "NLL per character under the SFT policy, relative to its own completions",
            policy_nll / sft_nll if sft_nll else inf,
            MAX_NLL_RATIO,
        ),
    ]
    if "reward" in model.functions:
        accuracy = lowest_accuracy(model, data.held_out)
        criteria.append(above("accuracy of the reward model, lower bound", accuracy, MIN_ACCURACY))
    return criteria


ASSIGNMENT = Assignment(
    project="rlhf",
    goal="Run RLHF: fine-tune a policy that completes film reviews, train a reward model, and maximize its "
    "reward with your own PPO. Raters that PPO was not trained on have to prefer the resulting policy to the "
    "SFT policy.",
    chapters=("learn/post-training/rewards-and-rl",),
    reference="A decoder with 2 layers of width 64 (166,208 parameters) and a vocabulary of 1,024 tokens, "
    "trained from scratch: 320 steps of SFT with a peak learning rate of 0.003, one epoch of 8,000 pairs "
    "for the reward model with 0.002, and 60 rollouts of PPO with 0.001, for each of three KL "
    "coefficients. A run takes about two minutes on one core.",
    larger_run="The page also reports a run on SmolLM2-135M, with LoRA adapters in the upper half of its "
    "blocks:\n\n"
    "```console\n"
    "llmguide project rlhf --base smollm2-135m-instruct --batch-size 16 --sft-steps 40 --sft-rate 1e-3 "
    "--reward-steps 80 --reward-rate 1e-3 --ppo-steps 36 --n-answers 24 --ppo-rate 3e-4 --kl-coefs 0.3\n"
    "```\n\n"
    "It takes about half an hour of processor time. In three seeds, its win rate against the SFT policy is "
    "58.9% to 59.7% by the bag of words (95% intervals from 54.5% to 63.9%) and 56.6% to 59.9% by the "
    "lexicon (52.2% to 64.1%).",
    data="from llmguide.projects.rlhf.data import Plan, splits\n\n"
    "data = splits(Plan(), seed=0)\n"
    "demonstrations = data.demonstrations  # pairs (prompt, completion), for the SFT policy\n"
    "comparisons = data.comparisons  # chosen, rejected, units (names of both), for the reward model\n\n"
    "# A text occurs in several comparisons: split by text, not by pair, for validation.\n"
    "# Train on nothing else: the check asks your policy for completions of data.prompts, compares the\n"
    "# rewards of data.held_out, and fits its bag-of-words model to data.other_comparisons.",
    steps=(
        Step(
            "SFT policy and reward model",
            "Fine-tune a policy on the demonstrations, and train a reward model on the comparisons. Write "
            "`generate` and `logprob` in `base_adapter.py`, so that the check can call the SFT policy. "
            "Choose the base model and the tokenizer yourself; a small model from scratch is enough.",
            2,
            6,
            ("bradley-terry", "last-token-reward"),
        ),
        Step(
            "rewards and KL penalty",
            "Every token is charged its KL penalty, and the last token also receives the reward model's "
            "score. The reference model is the SFT policy.",
            2,
            3,
            ("kl", "kl-estimate", "token-rewards"),
        ),
        Step(
            "advantages",
            "Compute the generalized advantage estimates (GAE) of a completion, from its last token to its "
            "first. `gae` expects completions of equal length. Where those of a batch differ, set the "
            "rewards and the values after the end of each to 0.",
            2,
            3,
            ("gae",),
        ),
        Step(
            "the clipped losses",
            "Write the clipped loss of the policy and the clipped loss of the value model.",
            2,
            3,
            ("ppo-clip", "value-loss"),
        ),
        Step(
            "the PPO loop",
            "Keep four models: policy, value model, reward model and reference model. Sample a batch of "
            "completions of prompts from the demonstrations, score them, take a few optimizer steps, and "
            "repeat. The reward model was trained on whole texts, so score a completion that was cut off at "
            "the token limit as if it ended there, with the end token in place of its last token. At every "
            "step, log the KL divergence, the reward, the entropy, the clip fraction and the completion "
            "length.",
            3,
            15,
        ),
        Step(
            "over-optimization",
            "Train with three KL coefficients. Plot the reward and the scores of the other raters against "
            "the KL divergence from the SFT policy.",
            2,
            6,
        ),
        Step("report", "Fill in both adapters, run the check, and write `REPORT.md`.", 1, 4),
    ),
    functions=("generate",),
    contract="`generate` gets the first four words of a film review and returns a continuation of about 24 "
    f"tokens that begins with a space. Sample at temperature 1. There are {N_PROMPTS} prompts. The raters "
    "are a bag-of-words model of other comparisons, and a lexicon with human ratings of single words. "
    "`logprob` gets such a prompt and a completion of either policy, which can be empty, and returns the "
    "log-probability of the completion under the SFT policy in nats. Leave the end token out, because a "
    "text does not show whether it was cut off. `reward` gets an empty prompt and a review snippet, and is "
    "checked on pairs of snippets that share none with the comparisons. It has to be the reward model that "
    "your policy was trained on, which the check cannot test. The check has no criterion for length, "
    "but a policy can win by writing less. So the check prints the mean length of the completions of both "
    f"policies, with a warning if your policy's is below {MIN_LENGTH_RATIO} times the SFT policy's.",
    decoding=Decoding(max_new_tokens=Plan().max_new_tokens, temperature=1.0),
    deliverables=(
        Deliverable(
            "A policy with measurably better preference ratings than the SFT baseline",
            "The check passes: the lower 95% bound of the win rate is above 50% for both raters, distinct-2 "
            "is at least half of the SFT policy's, the negative log-likelihood per character under the SFT "
            f"policy is below {MAX_NLL_RATIO} times that of its own completions, and the lower 95% bound of "
            f"the reward model's accuracy is above {MIN_ACCURACY:.0%}.",
            "The check passes with two seeds, at a smaller KL divergence than that of the reference "
            "solution.",
        ),
        Deliverable(
            "Training stability",
            "Curves of KL divergence, reward, entropy and clip fraction, and the curves of one run that went "
            "wrong.",
            "The report shows which curve gave the first sign of the problem.",
        ),
        Deliverable(
            "Examples before and after",
            "The first twenty prompts, not the best twenty, with the completions of both policies, and the "
            "mean length of all completions of each policy.",
            "Three people compare the completions without knowing which policy wrote them.",
        ),
    ),
    measure=measure,
    optional=("reward",),
    base_functions=("generate", "logprob"),
    subject="your policy",
    base="the SFT policy",
)
