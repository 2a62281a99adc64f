"""An induction circuit with weights written by hand: a model whose mechanism is known.

Head 0 of layer 0 copies each token to the position after it. Head 0 of layer 1 looks for the positions after
earlier occurrences of the current token, and writes the token found there to the output. The second head of
each layer and both feed-forward layers have zero weights. Instruments can be checked on this model, because
we know what they should find.

Reference: Elhage et al. 2021, "A mathematical framework for transformer circuits", section "Induction heads".

Leaves out: the other ways in which trained models find the previous token.
"""

from typing import cast

import torch

from llmguide.config.model_config import ModelConfig
from llmguide.interpretability.hooks import blocks_of
from llmguide.models.gpt import GPT
from llmguide.nn._linear import Linear
from llmguide.nn.positions import LearnedPositions


@torch.no_grad()
def induction_circuit(vocab_size: int, context_length: int, *, sharpness: float = 3.0) -> GPT:
    """Build a two-layer GPT that continues repeated text.

    The residual stream has four subspaces: the token, its position, the token before, and the prediction.

    Args:
        vocab_size: Tokens V; 3 V must be at least T, so that a head has a component for each position.
        context_length: Longest input T.
        sharpness: Factor on the queries. The larger it is, the closer attention is to a hard lookup.

    >>> model = induction_circuit(16, 12)
    >>> model(torch.tensor([[3, 1, 4, 15, 9, 3]]))[0, -1].argmax().item()  # 1 followed 3
    1
    """
    V, T = vocab_size, context_length
    config = ModelConfig(
        vocab_size=V,
        context_length=T,
        n_layers=2,
        d_model=3 * V + T + (V + T) % 2,  # an even number, for two heads
        n_heads=2,
        norm="rmsnorm",
        bias=False,
        tie_embeddings=False,
    )
    model = GPT(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.zero_()
    token, before, prediction = (slice(i * V, (i + 1) * V) for i in range(3))
    position = slice(3 * V, 3 * V + T)

    model.tokens.weight[:, token] = torch.eye(V)
    cast(LearnedPositions, model.positions).weight[:, position] = torch.eye(T)
    cast(Linear, model.head).weight[:, prediction] = torch.eye(V)
    first, second = (block.attention for block in blocks_of(model))
    first.q_proj.weight[:T, position] = sharpness * torch.eye(T).roll(-1, dims=0)  # position i asks for i - 1
    first.k_proj.weight[:T, position] = torch.eye(T)
    first.v_proj.weight[:V, token] = torch.eye(V)
    first.o_proj.weight[before, :V] = torch.eye(V)
    second.q_proj.weight[:V, token] = sharpness * torch.eye(V)
    second.k_proj.weight[:V, before] = torch.eye(V)
    second.k_proj.weight[:V, position.start] = -1.0  # position 0 copied itself: no token comes before it
    second.v_proj.weight[:V, token] = torch.eye(V)
    second.o_proj.weight[prediction, :V] = torch.eye(V)
    return model
