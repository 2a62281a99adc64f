import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.parity import assert_parity

from llmguide.projects.retrieval_chatbot import embed
from llmguide.projects.retrieval_chatbot.embed import mean_pool, open_embedder

TEXTS = ["a", "how do I sort a list?", "sort " * 20, "lists"]


@pytest.mark.parity
def test_vectors_are_those_of_transformers_pooled_as_the_model_card_says(embedder, bert):
    model = transformers.AutoModel.from_pretrained(bert).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    rows = tokenizer(TEXTS, padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**rows)[0]
    wide = rows["attention_mask"].unsqueeze(-1).expand(hidden.size()).float()
    pooled = torch.sum(hidden * wide, 1) / torch.clamp(wide.sum(1), min=1e-9)
    assert_parity(
        embedder(TEXTS),
        F.normalize(pooled, p=2, dim=1),
        of="llmguide.projects.retrieval_chatbot.embed.Embedder",
        against="transformers.BertModel",
        atol=1e-5,
    )


def test_a_text_has_the_same_vector_alone_and_in_any_company(embedder, monkeypatch):
    together = embedder(TEXTS)
    monkeypatch.setattr(embed, "_TOKENS", 1)  # each by itself
    assert torch.allclose(embedder(TEXTS), together, atol=1e-6)
    assert torch.allclose(together.norm(dim=1), torch.ones(len(TEXTS)))
    assert embedder([]).shape == (0, 24)


def test_what_follows_the_length_is_not_read(embedder):
    embedder.length = 8
    one, other = embedder(["abcdefgh", "abcdef and more"])
    assert torch.equal(one, other)


def test_padding_counts_nothing():
    hidden = torch.randn(2, 5, 3)
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    changed = hidden.clone()
    changed[0, 3:] = 7.0
    assert torch.equal(mean_pool(hidden, mask), mean_pool(changed, mask))


def test_a_decoder_is_refused(tmp_path):
    config = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=11, n_positions=8)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is GPT, which does not embed texts"):
        open_embedder(str(tmp_path))
