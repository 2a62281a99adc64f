import pytest
import torch
import torch.nn.functional as F

from llmguide.interpretability.neighbors import nearest_tokens
from tests.interpretability.peers import IDS, NAMES, pair, seen
from tests.parity import assert_parity


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_neighbors_are_the_best_of_all_rows_of_transformers(name):
    models = pair(name)
    head = models.ours.tokens if models.ours.head is None else models.ours.head
    residual = seen(models.layers[1], models.peer, at="input").flatten(0, 1)
    for ours, theirs in (
        (models.ours.tokens, models.peer.get_input_embeddings()),
        (head, models.peer.get_output_embeddings()),
    ):
        scores, ids = nearest_tokens(residual, ours.weight, n=4)
        cosines = F.cosine_similarity(residual[:, None], theirs.weight[None], dim=-1).detach()
        best = [sorted(row, reverse=True)[:4] for row in cosines.tolist()]
        of, against = (
            "llmguide.interpretability.neighbors.nearest_tokens",
            "torch.nn.functional.cosine_similarity",
        )
        assert_parity(scores, best, of=of, against=against, atol=1e-4)
        assert_parity(cosines.gather(1, ids), best, of=of, against=against, atol=1e-4)


def test_a_token_is_its_own_nearest_neighbor_whatever_the_norms_are():
    rows = pair("gpt2").ours.tokens.weight
    scores, ids = nearest_tokens(1e3 * rows[IDS], rows, n=1)
    assert torch.equal(ids[..., 0], IDS)
    torch.testing.assert_close(scores, torch.ones_like(scores))


def test_an_opposite_vector_comes_last():
    scores, ids = nearest_tokens(torch.tensor([0.0, 2.0]), torch.tensor([[0.0, -1.0], [3.0, 3.0]]), n=2)
    assert ids.tolist() == [1, 0]
    assert scores.tolist() == pytest.approx([2**-0.5, -1])
