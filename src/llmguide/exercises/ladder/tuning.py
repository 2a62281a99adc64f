"""The rungs of the ladder that fine-tune: log-probabilities of responses, the SFT loss, LoRA."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmguide.exercises.grading import Arguments, Exercise, Mistake, noise
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
    """Compute the mean cross-entropy of the tokens of the responses."""
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
    """Add the updates of adapters to the weights of a model, with switches for the mistakes."""
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
    """Observe the logits of the adapted model, and their gradient with respect to an adapter."""
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
        "response_logprobs(prompts, responses, weights, n_heads) returns one number for each pair, (B,): "
        "the log-probability of the whole response after its prompt. Prompts and responses are lists of "
        "ids of different lengths, none of them empty.",
        response_logprobs,
        _response_probes,
        (
            Mistake(
                "prompt counted",
                "the tokens of the prompt are counted as well",
                "The prompt is given: it is context, not something the model has said.",
                _with_prompt,
            ),
            Mistake(
                "first token of the response left out",
                "counting starts one token too late",
                "The last token of the prompt predicts the first of the response.",
                partial(response_logprobs, skip=0),
            ),
            Mistake(
                "last token of the prompt counted",
                "counting starts one token too early",
                "Entry t of the log-probabilities belongs to token t + 1.",
                partial(response_logprobs, skip=-2),
            ),
            Mistake(
                "last token left out",
                "the last token of the response is not counted",
                "Every token of the response counts, the last one too: it is how a model learns to stop.",
                partial(response_logprobs, drop=1),
            ),
            Mistake(
                "padding counted",
                "padding with id 0 is counted as if it were text",
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
            "You have a function that scores every token of a text but the first.",
            "Which of its entries belong to the response? Count for a prompt of one token.",
            "One pair at a time is fine; torch.stack puts numbers together without losing their gradients.",
        ),
        needs=("token-logprobs",),
        level="medium",
        minutes=15,
        after="SFT, reward-free methods such as DPO, and policy gradients all weight this quantity. Only "
        "the weights differ.",
    ),
    Exercise(
        "sft-loss",
        "sft_loss(prompts, responses, weights, n_heads) returns the loss of supervised fine-tuning on a "
        "batch, in nats per learned token. Every token that is learned counts the same, in short and long "
        "responses.",
        sft_loss,
        _response_probes,
        (
            Mistake(
                "loss on the prompt",
                "the prompts are learned as well",
                "The model should learn to respond, not to write prompts.",
                _sft_with_prompt,
            ),
            Mistake(
                "mean of means",
                "each response counts the same, however long it is",
                "Divide the sum over all responses by the number of all their tokens.",
                lambda *arguments: -response_logprobs(*arguments, mean=True).mean(),
            ),
            Mistake(
                "sum over each response",
                "the tokens of a response are summed, and the mean is over responses",
                "The loss is per token.",
                lambda *arguments: -response_logprobs(*arguments).mean(),
            ),
            Mistake(
                "divided by all tokens",
                "the sum is divided by the number of tokens of prompts and responses",
                "Masked tokens count neither above nor below the fraction bar.",
                _sft_of_all,
            ),
            Mistake(
                "sign",
                "the mean log-probability is returned",
                "A loss falls when the responses become more likely.",
                lambda *arguments: -sft_loss(*arguments),
            ),
        ),
        (
            "What would the loss be if all responses were one long text?",
            "Sum over everything that is learned; divide once.",
            "The divisor counts the tokens of the responses.",
        ),
        needs=("response-logprobs",),
        level="warm-up",
        minutes=5,
        after="SFT is pre-training with a mask. The same training loop runs it; only the loss is another.",
        observe=loss_and_gradient,
    ),
)

LAST = (
    Exercise(
        "lora-weights",
        "lora_weights(weights, adapters, alpha) returns the weights of a model to which LoRA adapters are "
        "merged. `adapters` has a dict for each layer, from the name of a matrix to its pair (A, B), where "
        "A is (rank, D) and B is (D, rank). The given weights stay as they are, and gradients can flow "
        "back to A and B.",
        lora_weights,
        _lora_probes,
        (
            Mistake(
                "scale forgotten",
                "the update is not divided by the rank",
                "The scale keeps the size of the update when the rank changes.",
                partial(lora_weights, power=0.0),
            ),
            Mistake(
                "alpha forgotten",
                "the update is divided by the rank but not multiplied by alpha",
                "The numerator of the scale is alpha.",
                lambda weights, adapters, alpha: lora_weights(weights, adapters, 1.0),
            ),
            Mistake(
                "divided by the root of the rank",
                "the scale is alpha over the square root of the rank, as in rsLoRA",
                "LoRA itself divides by the rank.",
                partial(lora_weights, power=0.5),
            ),
            Mistake(
                "update transposed",
                "the update is transposed",
                "A reads the input, B writes the output, and the matrix is stored as outputs by inputs.",
                partial(lora_weights, flipped=True),
            ),
            Mistake(
                "first layer only",
                "only the first layer is changed",
                "Every layer has adapters of its own.",
                partial(lora_weights, n_layers=1),
            ),
            Mistake(
                "matrices replaced",
                "the update replaces the matrix instead of being added",
                "LoRA learns the difference from the base model.",
                _replaced,
            ),
        ),
        (
            "Which product of A and B has the shape of the matrix?",
            "How large should the update be when the rank doubles? The scale has two numbers in it.",
            "Copy the dicts, not the tensors: a new dict for each layer with the changed matrices in it.",
        ),
        needs=("gpt",),
        level="medium",
        minutes=10,
        after="Train A and B with your own training loop and any of your losses: the base model is shared "
        "by all tasks, and a task is a file of a few megabytes. That was the last step of the ladder.",
        observe=_adapted,
    ),
)
