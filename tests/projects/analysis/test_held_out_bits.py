import random

import numpy as np
import pytest
import torch
from tests.seed import SEED

from llmguide.config.model_config import ModelConfig
from llmguide.evaluation.likelihood import bits_per_byte
from llmguide.evaluation.ngram_baseline import ngram_bits, ngram_bits_per_byte
from llmguide.models import build
from llmguide.projects.analysis.held_out_bits import (
    against_ngram,
    best_ngram_bits,
    byte_bits,
    excerpts,
    model_bits,
    passage_interval,
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
    each = model_bits(model, tokenizer, TEXTS, 8)
    assert rate(each, TEXTS) == pytest.approx(together)
    of_bytes = byte_bits(model, tokenizer, TEXTS)
    assert [len(bits) for bits in of_bytes] == [len(text.encode()) for text in TEXTS]
    assert [bits.sum() for bits in of_bytes] == pytest.approx(each)


def test_the_bits_of_a_token_are_at_its_first_byte():
    tokenizer = Tokenizer.train(["aaab " * 20], 259, special_tokens=["<|endoftext|>"])
    config = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=2)
    model = build(config).eval()
    torch.nn.init.zeros_(model.tokens.weight)  # the tied head gives every token the same logit
    lengths = [len(piece) for piece in tokenizer.pieces(tokenizer.encode("aaab aaab"))]
    assert max(lengths) > 1
    expected = [bits for n in lengths for bits in (np.log2(tokenizer.vocab_size), *[0.0] * (n - 1))]
    [bits] = byte_bits(model, tokenizer, ["aaab aaab"])
    assert bits.tolist() == pytest.approx(expected)


def test_each_text_of_an_ngram_model_follows_a_line_feed():
    train = "\n".join(["red fish, blue fish"] * 3).encode()
    both = ngram_bits(train, [b"red", b"blue fish"], 2)
    alone = [ngram_bits(train, [text], 2)[0] for text in (b"red", b"blue fish")]
    assert [bits.tolist() for bits in both] == [pytest.approx(bits.tolist()) for bits in alone]
    after, line_feed = (ngram_bits_per_byte(train, text, 4) for text in (b"\nblue fish", b"\n"))
    assert ngram_bits(train, [b"blue fish"], 4)[0].sum() == pytest.approx(10 * after - line_feed)


def test_the_best_order_needs_the_fewest_bits():
    draw = random.Random(SEED)
    words = ["fish", "whale", "crab", "squid"]
    train, texts = ([" ".join(draw.choices(words, k=30)) for _ in range(20)] for _ in range(2))
    order, bits = best_ngram_bits(train, texts)
    seen, unseen = "\n".join(train).encode(), [text.encode() for text in texts]
    by_order = {k: sum(each.sum() for each in ngram_bits(seen, unseen, k)) for k in range(1, 9)}
    assert by_order[order] == min(by_order.values()) == pytest.approx(sum(each.sum() for each in bits))


def test_a_model_is_compared_with_counting_passage_by_passage():
    rng = np.random.default_rng(SEED)
    ngram = [rng.exponential(2, n) for n in (30_000, 500)]
    model = [bits - 0.1 for bits in ngram]  # the passages differ, the differences do not
    found = against_ngram(6, ngram, model)
    assert found["best n-gram"]["order"] == 6
    assert found["best n-gram"]["score"] == pytest.approx(np.concatenate(ngram).mean())
    assert found["best n-gram"]["low"] < found["best n-gram"]["score"] < found["best n-gram"]["high"]
    assert list(found["model minus n-gram"].values()) == pytest.approx([-0.1] * 3)
    # about 2 standard errors of the mean of 30,500 independent values with standard deviation 2
    spread = passage_interval(ngram)
    assert spread["high"] - spread["low"] == pytest.approx(2 * 1.96 * 2 / 30_500**0.5, rel=0.5)


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
