import random

import pytest
import torch
from tests.seed import SEED

from llmguide.config import ModelConfig
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.ngram_baseline import ngram_bits, ngram_bits_per_byte
from llmguide.models import build
from llmguide.projects.analysis.held_out_bits import (
    best_ngram_bits,
    excerpts,
    model_bits,
    rate,
    rate_difference,
)
from llmguide.projects.pretrained import HFTokenizer, separator
from llmguide.tokenization.tokenizer import Tokenizer

TEXTS = ["one fish", "two fish, red fish", "blue \u00e9t\u00e9 fish"]


def test_bits_of_texts_add_up_to_the_bits_per_byte_of_all():
    torch.manual_seed(SEED)
    tokenizer = Tokenizer.train(TEXTS, 260, special_tokens=["<|endoftext|>"])
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=2)
    model = build(config).eval()
    bos_id = tokenizer.special_tokens["<|endoftext|>"]
    together = bits_per_byte(model, tokenizer, TEXTS, bos_id=bos_id, context=8, stride=4)
    assert rate(model_bits(model, tokenizer, TEXTS, 8), TEXTS) == pytest.approx(together)


def test_each_text_of_an_ngram_model_follows_a_line_feed():
    train = "\n".join(["red fish, blue fish"] * 3).encode()
    both = ngram_bits(train, [b"red", b"blue fish"], 2)
    assert both == pytest.approx([ngram_bits(train, [text], 2)[0] for text in (b"red", b"blue fish")])
    after, line_feed = (ngram_bits_per_byte(train, text, 4) for text in (b"\nblue fish", b"\n"))
    assert ngram_bits(train, [b"blue fish"], 4) == pytest.approx([10 * after - line_feed])


def test_the_best_order_needs_the_fewest_bits():
    draw = random.Random(SEED)
    words = ["fish", "whale", "crab", "squid"]
    train, texts = ([" ".join(draw.choices(words, k=30)) for _ in range(20)] for _ in range(2))
    order, bits = best_ngram_bits(train, texts)
    seen, unseen = "\n".join(train).encode(), [text.encode() for text in texts]
    by_order = {k: sum(ngram_bits(seen, unseen, k)) for k in range(4, 9)}
    assert by_order[order] == min(by_order.values()) == pytest.approx(sum(bits))


def test_an_excerpt_is_a_part_of_its_text_from_any_place():
    text = "".join(map(chr, range(200, 1200)))
    parts = excerpts([text] * 50, 10)
    assert all(part in text and len(part) == 10 for part in parts)
    places = [text.index(part) for part in parts]
    assert min(places) < 200
    assert max(places) > 800
    assert excerpts(["abc", ""], None) == ["abc"]


def test_a_difference_weights_documents_by_their_bytes():
    difference = rate_difference([10.0, 0.0], [0.0, 0.0], ["a", "b" * 9])
    assert difference["score"] == 1.0  # 10 bits of 10 bytes
    assert (difference["low"], difference["high"]) == (0.0, 10.0)


def test_a_text_begins_with_the_end_of_a_text_not_of_a_turn():
    class Chat:
        eos_token_id = 2

        def __init__(self, vocabulary):
            self.get_vocab = lambda: vocabulary

    assert separator(HFTokenizer(Chat({"<|endoftext|>": 0, "<|im_end|>": 2}))) == 0
    assert separator(HFTokenizer(Chat({"</s>": 2}))) == 2
    assert separator(Tokenizer.train(TEXTS, 260, special_tokens=["<|endoftext|>"])) == 259
