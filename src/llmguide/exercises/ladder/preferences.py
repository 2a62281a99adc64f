"""The exercise of the ladder that learns from preferences without a reward model: DPO."""

from functools import partial

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake
from llmguide.exercises.ladder.tuning import PROMPTS, RESPONSES, Texts, response_logprobs
from llmguide.exercises.ladder.weights import Weights, loss_and_gradient, make_weights
from llmguide.post_training.preferences.dpo import dpo_loss as package_dpo_loss


def dpo_loss(  # noqa: PLR0917 (the arguments of the answer)
    prompts: Texts,
    chosen: Texts,
    rejected: Texts,
    weights: Weights,
    reference: Weights,
    n_heads: int,
    beta: float,
    *,
    mean: bool = False,
    outside: bool = False,
    use_reference: bool = True,
    logarithm: bool = True,
) -> Tensor:
    """Compute the DPO loss, with switches for the mistakes."""
    logprobs = [
        response_logprobs(prompts, responses, model, n_heads, mean=mean)
        for model in (weights, reference)
        for responses in (chosen, rejected)
    ]
    if not use_reference:
        logprobs[2:] = [torch.zeros(len(prompts))] * 2
    if not logarithm:
        better, worse, reference_better, reference_worse = logprobs
        return -(beta * (better - reference_better - worse + reference_worse)).sigmoid().mean()
    loss: Tensor = package_dpo_loss(*logprobs, beta=1.0 if outside else beta)[0]
    return beta * loss if outside else loss


def _dpo_probes() -> list[Arguments]:
    rejected = [[1, 1, 4], [6, 7], [2]]
    policy, reference = make_weights(9, 8, 1, 8), make_weights(9, 8, 1, 8, seed=1)
    return [(PROMPTS, RESPONSES, rejected, policy, reference, 2, 0.3)]


EXERCISES = (
    Exercise(
        "dpo-loss",
        "dpo_loss(prompts, chosen, rejected, weights, reference, n_heads, beta) returns the DPO loss on a "
        "batch of preference pairs, averaged over the pairs, as a scalar tensor. `weights` is the policy, "
        "and `reference` has the weights of the reference model; both have n_heads heads. `prompts`, "
        "`chosen` and `rejected` are lists of lists of ids: a prompt and its two responses for each pair.",
        dpo_loss,
        _dpo_probes,
        (
            Mistake(
                "reference forgotten",
                "the log-probabilities of the policy are compared without those of the reference",
                "The implicit reward of a response is beta times the log-ratio of its probabilities under "
                "the policy and under the reference model.",
                partial(dpo_loss, use_reference=False),
            ),
            Mistake(
                "pair swapped",
                "chosen and rejected responses are swapped",
                "The loss must fall when the policy makes the chosen response more likely.",
                lambda prompts, chosen, rejected, *rest: dpo_loss(prompts, rejected, chosen, *rest),
            ),
            Mistake(
                "beta outside",
                "beta multiplies the loss instead of the difference of log-ratios",
                "beta is a factor of the implicit reward, inside the sigmoid.",
                partial(dpo_loss, outside=True),
            ),
            Mistake(
                "mean over the tokens",
                "log-probabilities are averaged over the tokens of a response",
                "DPO uses the log-probabilities of whole responses, which are sums. SimPO uses averages.",
                partial(dpo_loss, mean=True),
            ),
            Mistake(
                "logarithm forgotten",
                "the logarithm of the sigmoid is not taken",
                "DPO maximizes the log-likelihood of the preferences.",
                partial(dpo_loss, logarithm=False),
            ),
        ),
        (
            "DPO is the loss of a reward model with an implicit reward. What is the implicit reward of a "
            "response?",
            "You need the log-probabilities of responses four times: two models, each with two responses.",
            "The loss of a pair is -logsigmoid of the difference of the two implicit rewards. The reference "
            "model is not trained.",
        ),
        needs=("response-logprobs",),
        level="medium",
        minutes=15,
        after="DPO turns preferences into one supervised loss, without a reward model and without sampling. "
        "In return, it learns only from the responses in the data set, not from new completions of the "
        "policy.",
        observe=loss_and_gradient,
    ),
)
