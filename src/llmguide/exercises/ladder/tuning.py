"""The exercises of the ladder that fine-tune: log-probabilities of responses, the SFT loss, LoRA."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.definition import Arguments, Exercise, Mistake, noise
from llmguide.exercises.ladder.training import token_logprobs
from llmguide.exercises.ladder.transformer import gpt
from llmguide.exercises.ladder.weights import Weights, loss_and_gradient, make_weights

Texts = Sequence[list[int]]
PROMPTS = [[1, 2, 3], [4, 5], [6]]
RESPONSES = [[7, 8], [2], [3, 3, 1, 5]]

# ---- responses ---------------------------------------------------------------------------------------------


def response_logprobs(
    prompts: Texts,
    responses: Texts,
    weights: Weights,
    n_heads: int,
    *,
    skip: int = -1,
    drop: int = 0,
    padded: bool = False,
    mean: bool = False,
) -> Tensor:
    """Sum the log-probabilities of the tokens of each response, with switches for the mistakes."""
    longest = max(len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True))
    found = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = [*prompt, *response]
        ids += [0] * (longest - len(ids)) if padded else []
        logprobs = token_logprobs(torch.tensor([ids]), weights, n_heads)[0]
        counted = logprobs[len(prompt) + skip : len(logprobs) - drop]
        found.append(counted.mean() if mean else counted.sum())
    return torch.stack(found)


def _with_prompt(prompts: Texts, responses: Texts, weights: Weights, n_heads: int) -> Tensor:
    pairs = zip(prompts, responses, strict=True)
    texts = [torch.tensor([[*prompt, *response]]) for prompt, response in pairs]
    return torch.stack([token_logprobs(ids, weights, n_heads).sum() for ids in texts])


def sft_loss(prompts: Texts, responses: Texts, weights: Weights, n_heads: int) -> Tensor:
    """Compute the mean cross-entropy loss of the tokens of the responses."""
    return -response_logprobs(prompts, responses, weights, n_heads).sum() / sum(map(len, responses))


def _sft_with_prompt(prompts: Texts, responses: Texts, weights: Weights, n_heads: int) -> Tensor:
    n_tokens = sum(map(len, prompts)) + sum(map(len, responses)) - len(prompts)
    return -_with_prompt(prompts, responses, weights, n_heads).sum() / n_tokens


def _sft_of_all(prompts: Texts, responses: Texts, weights: Weights, n_heads: int) -> Tensor:
    n_tokens = sum(map(len, prompts)) + sum(map(len, responses))
    return -response_logprobs(prompts, responses, weights, n_heads).sum() / n_tokens


def _response_probes() -> list[Arguments]:
    return [
        (PROMPTS, RESPONSES, make_weights(9, 8, 1, 8), 2),
        (PROMPTS[:1], RESPONSES[2:], make_weights(9, 8, 2, 8, seed=1), 4),
    ]


# ---- LoRA --------------------------------------------------------------------------------------------------

Adapters = list[dict[str, tuple[Tensor, Tensor]]]


def lora_weights(
    weights: Weights,
    adapters: Adapters,
    alpha: float,
    *,
    power: float = 1.0,
    flipped: bool = False,
    n_layers: int | None = None,
) -> Weights:
    """Merge LoRA adapters into the weights of a model, with switches for the mistakes."""
    layers = [dict(layer) for layer in weights["layers"]]
    for layer, adapter in list(zip(layers, adapters, strict=True))[:n_layers]:
        for name, (A, B) in adapter.items():
            update = B @ A
            layer[name] = layer[name] + alpha / len(A) ** power * (update.T if flipped else update)
    return {**weights, "layers": layers}


def _replaced(weights: Weights, adapters: Adapters, alpha: float) -> Weights:
    zeros = [
        {**layer, **{name: torch.zeros_like(layer[name]) for name in adapter}}
        for layer, adapter in zip(weights["layers"], adapters, strict=True)
    ]
    return lora_weights({**weights, "layers": zeros}, adapters, alpha)


def _lora_probes() -> list[Arguments]:
    def adapter(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
        return {name: (noise(seed + i, 2, 6), noise(seed + i + 9, 6, 2)) for i, name in enumerate("qv")}

    return [(make_weights(9, 8, 2, 6), [adapter(0), adapter(20)], 5.0)]


def _adapted(function: Callable[..., Any], arguments: Arguments) -> tuple[Tensor, Any]:
    """Observe the logits of the adapted model, and the gradient of their squares with respect to an A."""
    weights, adapters, alpha = arguments
    A, B = adapters[0]["q"]
    A = A.clone().requires_grad_()
    changed = function(weights, [{**adapters[0], "q": (A, B)}, *adapters[1:]], alpha)
    logits = gpt(torch.tensor([[1, 2, 3, 4, 5]]), changed, 2)
    if not logits.requires_grad:
        return logits, "no gradient"
    return logits, torch.autograd.grad(logits.square().sum(), A)[0]


EXERCISES = (
    Exercise(
        "response-logprobs",
        "response_logprobs(prompts, responses, weights, n_heads) returns a tensor (B,) with the "
        "log-probability of each whole response given its prompt, in nats. `prompts` and `responses` are "
        "lists of B lists of ids. The lists of ids have different lengths, and none is empty.",
        response_logprobs,
        _response_probes,
        (
            Mistake(
                "prompt counted",
                "the tokens of the prompt are counted as well",
                "The prompt is given, so only the tokens of the response count.",
                _with_prompt,
            ),
            Mistake(
                "first token of the response left out",
                "the sum starts one token too late",
                "The logits at the last token of the prompt predict the first token of the response.",
                partial(response_logprobs, skip=0),
            ),
            Mistake(
                "last token of the prompt counted",
                "the sum starts one token too early",
                "Entry t of the log-probabilities belongs to the token at position t + 1.",
                partial(response_logprobs, skip=-2),
            ),
            Mistake(
                "last token left out",
                "the last token of the response is not counted",
                "Every token of the response counts, including the last. From an end token there, a model "
                "learns to stop.",
                partial(response_logprobs, drop=1),
            ),
            Mistake(
                "padding counted",
                "padding with id 0 is counted as part of the response",
                "Mask the padding, or handle one pair at a time.",
                partial(response_logprobs, padded=True),
            ),
            Mistake(
                "mean instead of sum",
                "the log-probabilities of a response are averaged",
                "The probability of a sequence is a product, so its logarithm is a sum.",
                partial(response_logprobs, mean=True),
            ),
        ),
        (
            "You have a function that returns the log-probability of every token of a text except the first.",
            "Which of its entries belong to the response? Work it out for a prompt of one token.",
            "You can process one pair at a time. torch.stack combines scalar tensors and keeps their "
            "gradients.",
        ),
        needs=("token-logprobs",),
        level="medium",
        minutes=15,
        after="The gradients of SFT, DPO and policy-gradient methods such as REINFORCE are all weighted sums "
        "of the gradients of this quantity. The methods differ in the weights.",
    ),
    Exercise(
        "sft-loss",
        "sft_loss(prompts, responses, weights, n_heads) returns the loss of supervised fine-tuning (SFT) on "
        "a batch, as a scalar tensor: the cross-entropy in nats, averaged over all tokens of all responses. "
        "Every token of a response has the same weight, in short and in long responses. `prompts` and "
        "`responses` are lists of lists of ids, as in response_logprobs.",
        sft_loss,
        _response_probes,
        (
            Mistake(
                "loss on the prompt",
                "the tokens of the prompts are in the loss as well",
                "The model should learn to write responses, not prompts.",
                _sft_with_prompt,
            ),
            Mistake(
                "mean of means",
                "each response has the same weight, however long it is",
                "Divide the sum over all responses by the total number of their tokens.",
                lambda *arguments: -response_logprobs(*arguments, mean=True).mean(),
            ),
            Mistake(
                "sum over each response",
                "the losses of a response are summed, and the mean is over the responses",
                "The unit is nats per response token: divide by the number of tokens, not of responses.",
                lambda *arguments: -response_logprobs(*arguments).mean(),
            ),
            Mistake(
                "divided by all tokens",
                "the sum is divided by the number of tokens of prompts and responses",
                "The tokens of the prompts are masked, so they count neither in the sum nor in the divisor.",
                _sft_of_all,
            ),
            Mistake(
                "sign",
                "the mean log-probability is returned",
                "A loss should fall when the responses become more likely.",
                lambda *arguments: -sft_loss(*arguments),
            ),
        ),
        (
            "What would the loss be if all responses were one long text?",
            "Sum over the tokens of all responses, and divide once.",
            "The divisor is the total number of tokens of the responses.",
        ),
        needs=("response-logprobs",),
        level="warm-up",
        minutes=5,
        after="SFT has the loss of pre-training with a mask on the prompts. You can use the same training "
        "loop with this loss.",
        observe=loss_and_gradient,
    ),
)

LAST = (
    Exercise(
        "lora-weights",
        "lora_weights(weights, adapters, alpha) returns the weights of a model with LoRA adapters merged "
        "into them, scaled with `alpha` as in the LoRA paper. `adapters` is a list with a dict for each "
        "layer. The dict maps the name of a matrix (D, D) of the layer, such as 'q', to its pair (A, B), "
        "where A is (rank, D) and B is (D, rank). Do not change `weights`. Gradients must be able to flow "
        "back to A and B.",
        lora_weights,
        _lora_probes,
        (
            Mistake(
                "scale forgotten",
                "the update is not divided by the rank",
                "Divide by the rank, so that alpha need not change much with the rank.",
                partial(lora_weights, power=0.0),
            ),
            Mistake(
                "alpha forgotten",
                "the update is divided by the rank but not multiplied by alpha",
                "The scale of the update is alpha divided by the rank.",
                lambda weights, adapters, alpha: lora_weights(weights, adapters, 1.0),
            ),
            Mistake(
                "divided by the root of the rank",
                "the scale is alpha over the square root of the rank, as in rsLoRA",
                "The original LoRA divides alpha by the rank itself.",
                partial(lora_weights, power=0.5),
            ),
            Mistake(
                "update transposed",
                "the update is transposed",
                "A is applied to the input first and B second. A matrix is stored as outputs by inputs, so "
                "the update is B @ A.",
                partial(lora_weights, flipped=True),
            ),
            Mistake(
                "first layer only",
                "only the first layer is changed",
                "Every layer has its own adapters.",
                partial(lora_weights, n_layers=1),
            ),
            Mistake(
                "matrices replaced",
                "the update replaces the matrix instead of being added",
                "Add the update: LoRA learns the difference from the base weight.",
                _replaced,
            ),
        ),
        (
            "Which product of A and B has the shape of the matrix?",
            "The scale has two numbers in it: alpha and the rank.",
            "Make a new dict for each layer and put the changed matrices into it. You need not copy the "
            "other tensors.",
        ),
        needs=("gpt",),
        level="medium",
        minutes=10,
        after="You can train A and B with your own training loop and any of your losses. All tasks share the "
        "base model, and each task adds only its small adapters. That was the last exercise of the ladder.",
        observe=_adapted,
    ),
)
