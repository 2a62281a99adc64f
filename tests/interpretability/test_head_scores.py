import pytest
import torch

from llmguide.interpretability.activations import record_activations
from llmguide.interpretability.head_scores import (
    first_token_scores,
    induction_scores,
    previous_token_scores,
    repeated_random_tokens,
)
from llmguide.interpretability.induction_circuit import induction_circuit
from tests.interpretability.peers import NAMES, pair
from tests.parity import assert_parity

LENGTH = 6
IDS = repeated_random_tokens(53, LENGTH, 5, seed=3)


def looped(patterns, key_of, first):
    """Mean weight on one key a query, written as a loop over rows and queries."""
    rows, queries = patterns[0].shape[0], range(first, patterns[0].shape[-1])
    scores = [[0.0] * layer.shape[1] for layer in patterns]
    for i, layer in enumerate(patterns):
        for head in range(layer.shape[1]):
            weights = [layer[b, head, q, key_of(q)].item() for b in range(rows) for q in queries]
            scores[i][head] = sum(weights) / len(weights)
    return scores


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_loops_over_the_weights_of_transformers(name):
    models = pair(name)
    ours = record_activations(models.ours, IDS).patterns
    with torch.no_grad():
        peer = models.peer(IDS, output_attentions=True).attentions
    against = "transformers.PreTrainedModel"
    pairs = {
        "previous_token_scores": (previous_token_scores(ours), looped(peer, lambda q: q - 1, 1)),
        "induction_scores": (induction_scores(ours, LENGTH), looped(peer, lambda q: q - LENGTH + 1, LENGTH)),
        "first_token_scores": (first_token_scores(ours), looped(peer, lambda q: 0, 1)),
    }
    for function, (scores, expected) in pairs.items():
        of = f"llmguide.interpretability.head_scores.{function}"
        assert_parity(scores, expected, of=of, against=against, atol=1e-4)


def test_the_heads_of_the_circuit_score_highest_on_their_patterns():
    model = induction_circuit(53, 2 * LENGTH)
    patterns = record_activations(model, IDS).patterns
    assert previous_token_scores(patterns).flatten().argmax() == 0  # the first head of layer 0
    assert induction_scores(patterns, LENGTH)[1].argmax() == 0
    uniform = sum(1 / (q + 1) for q in range(1, 2 * LENGTH)) / (2 * LENGTH - 1)  # the heads with zero weights
    torch.testing.assert_close(first_token_scores(patterns)[:, 1], torch.full((2,), uniform))


def test_the_circuit_continues_every_unambiguous_repetition():
    model = induction_circuit(53, 2 * LENGTH)
    ids = torch.stack(
        [torch.randperm(53, generator=torch.Generator().manual_seed(s))[:LENGTH] for s in range(9)]
    )
    logits = model(torch.cat([ids, ids], dim=1))
    assert torch.equal(logits[:, LENGTH:-1].argmax(dim=-1), ids[:, 1:])
