from types import SimpleNamespace

import torch
from torch import nn

from llmguide.config.model_config import ModelConfig
from llmguide.models import build
from llmguide.projects.analysis.induction import copying


class LooksBack(nn.Module):
    """Says what followed the last time that the token came, and 0 if it never did."""

    def __init__(self, vocab_size, context_length):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, ids):
        said = torch.zeros_like(ids)
        for row, tokens in enumerate(ids.tolist()):
            followed = {}
            for i, token in enumerate(tokens):
                said[row, i] = followed.get(token, 0)
                if i + 1 < len(tokens):
                    followed[token] = tokens[i + 1]
        return nn.functional.one_hot(said, self.config.vocab_size).float()


def test_a_model_that_looks_back_is_right_the_second_time():
    found = copying(LooksBack(5003, 64))  # so many tokens that hardly any row has one twice
    assert found.first < 0.01
    assert found.second > 0.99


def test_a_row_fits_twice_into_the_context_and_an_untrained_model_copies_nothing():
    torch.manual_seed(0)
    found = copying(
        build(ModelConfig(vocab_size=997, context_length=20, n_layers=1, d_model=16, n_heads=2)).eval()
    )
    assert max(found) < 0.02
