"""The tokenizer by hand, against tiktoken and rustbpe, and its properties."""

import json
import pickle
import pydoc_data.topics
import random
import stat

import jaxtyping
import numpy as np
import pytest
import rustbpe
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.tokenization import tokenizer as tokenizer_module
from llmguide.tokenization.openai import load_encoding
from llmguide.tokenization.pretokenize import GPT4_PATTERN
from llmguide.tokenization.tokenizer import GPT2_PATTERN, Tokenizer

VOCABULARIES = ["gpt2", "cl100k_base", "o200k_base"]
END = "<|endoftext|>"
TEXTS = list(pydoc_data.topics.topics.values())
# Plane 0, then every 40th character: test_unicode_classes.py looks at the class of every one.
CHARACTERS = "".join(chr(c) for c in [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 40)])
AWKWARD = [
    *(" ", "  ", "\n", "\r\n", "\t", "\x00", "\x1c", "\x1f", "\x85", "\u200b", "\u00a0", "\u2028", "\ufeff"),
    *(
        "a",
        "B",
        "é",
        "ǅ",
        "ʰ",
        "中",
        "٣",
        "9",
        "12345",
        "'s",
        "'LL",
        "'\u017f",
        "K",
        "!",
        "/",
        "_",
        "\u0308",
        "word",
    ),
    *(
        "🤖",
        "👩‍👩‍👧",
        "𐐀",
        "𠀀",
        "𞤀",
        "\U0001d165",
        "\U000323b0",
        "\U0010ffff",
        "\ud800",
        "\udc00",
        END,
        "<|end",
    ),
]
AWKWARD_TEXT = st.lists(st.sampled_from(AWKWARD) | st.characters(), max_size=40).map("".join)


@pytest.fixture(scope="module")
def ours():
    return {name: Tokenizer.from_tiktoken(load_encoding(name)) for name in VOCABULARIES}


@pytest.fixture(scope="module")
def trained():
    return Tokenizer.train(TEXTS, 800, pattern=GPT4_PATTERN, special_tokens=[END, "<|pad|>"])


# By hand


def test_wikipedia_by_hand():
    """XdXac with X = 258, as in test_bpe."""
    tokenizer = Tokenizer.train("aaabdaaabac", 259)
    assert tokenizer.encode("aaabdaaabac") == [258, ord("d"), 258, ord("a"), ord("c")]
    assert tokenizer.pieces([256, 257, 258]) == [b"aa", b"ab", b"aaab"]


def test_merges_never_cross_a_piece():
    """In "x x x" the pieces are "x", " x", " x": the only pair is (32, 120)."""
    with pytest.warns(UserWarning, match="too small for vocab_size=300: 257 ids are used"):
        tokenizer = Tokenizer.train("x x x", 300)
    assert tokenizer.encode("x x") == [120, 256]
    assert tokenizer.vocab_size == 257


def test_empty_text():
    tokenizer = Tokenizer.train("", 256)
    assert tokenizer.vocab_size == 256
    assert tokenizer.encode("") == []
    assert tokenizer.decode([]) == ""
    assert tokenizer.encode("é") == [0xC3, 0xA9]


def test_half_a_character_decodes_to_the_replacement_character():
    tokenizer = Tokenizer.train("", 256)
    assert tokenizer.decode([0xC3]) == "\ufffd"
    assert tokenizer.decode_bytes([0xC3]) == b"\xc3"


def test_special_tokens_come_last_and_are_not_learned_from():
    """Without the rule the most frequent pair would be <|; with it, only ab is left, inside each document."""
    tokenizer = Tokenizer.train(f"ab{END}ab{END}ab", 258, special_tokens=[END])
    assert tokenizer.special_tokens == {END: 257}
    assert tokenizer.encode(f"ab{END}ab", allowed_special={END}) == [256, 257, 256]


def test_users_cannot_type_a_special_token():
    tokenizer = Tokenizer.train("", 257, special_tokens=[END])
    assert tokenizer.encode(END) == list(END.encode())
    assert tokenizer.encode(END, allowed_special="all") == [256]
    assert tokenizer.decode([256]) == END


def test_of_two_special_tokens_the_longer_one_wins():
    tokenizer = Tokenizer.train("", 258, special_tokens=["<|a", "<|a|>"])
    assert tokenizer.encode("<|a|><|a", allowed_special="all") == [257, 256]
    assert tokenizer.encode("<|a|>", allowed_special={"<|a"}) == [256, ord("|"), ord(">")]


# Parity


@pytest.mark.parity
@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("order", ["ascending", "shuffled"])
def test_every_character_has_tiktokens_ids(ours, name, order):
    text = CHARACTERS
    if order == "shuffled":
        text = "".join(random.Random(0).sample(text, 30_000))
    assert_parity(
        ours[name].encode(text),
        load_encoding(name).encode(text, disallowed_special=()),
        of="llmguide.tokenization.tokenizer.Tokenizer.encode",
        against=f"tiktoken.{name}",
        atol=0,
    )


@pytest.mark.parity
@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_megabyte_of_mixed_text_has_tiktokens_ids(ours, name):
    generator = random.Random(0)
    text = "\n".join(TEXTS) + "".join(generator.choices([*AWKWARD, "A long line of words. "], k=170_000))
    assert len(text.encode("utf-8", "replace")) > 1_000_000
    assert_parity(
        ours[name].encode(text, allowed_special={END}),
        load_encoding(name).encode(text, allowed_special={END}, disallowed_special=()),
        of="llmguide.tokenization.tokenizer.Tokenizer.encode",
        against=f"tiktoken.{name}",
        atol=0,
    )


@pytest.mark.parametrize("name", VOCABULARIES)
@settings(max_examples=60)
@given(text=AWKWARD_TEXT)
def test_generated_text_has_tiktokens_ids(ours, name, text):
    encoding = load_encoding(name)
    assert ours[name].encode(text) == encoding.encode(text, disallowed_special=())
    assert ours[name].encode(text, allowed_special="all") == encoding.encode(text, allowed_special="all")


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize(
    "piece", ["a" * 100_000, "ab" * 30_000, " " * 50_000 + "x", "\r\n" * 20_000, "中" * 20_000, "🤖" * 20_000]
)
def test_long_pieces_are_not_quadratic(ours, name, piece):
    """The quadratic encoder would make 5e9 comparisons for 100,000 letters: minutes."""
    assert ours[name].encode(piece) == load_encoding(name).encode(piece)


@pytest.mark.parity
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_merges_are_rustbpes_in_order(pattern):
    tokenizer = Tokenizer.train(TEXTS, 256 + 3000, pattern=pattern)
    peer = rustbpe.Tokenizer()
    peer.train_from_iterator(TEXTS, 256 + 3000, pattern=pattern)
    theirs = {bytes(token): i for token, i in peer.get_mergeable_ranks()}
    assert tokenizer.ranks.keys() == theirs.keys()
    assert_parity(
        list(tokenizer.ranks.values()),
        [theirs[token] for token in tokenizer.ranks],
        of="llmguide.tokenization.tokenizer.Tokenizer.train",
        against="rustbpe.Tokenizer.train_from_iterator",
        atol=0,
    )


def test_to_tiktoken_and_back(trained):
    encoding = trained.to_tiktoken()
    assert isinstance(encoding, tiktoken.Encoding)
    assert encoding._pat_str == GPT4_PATTERN
    assert encoding.n_vocab == trained.vocab_size == 800
    text = "".join(AWKWARD) * 3 + TEXTS[0]
    ids = trained.encode(text, allowed_special="all")
    assert encoding.encode(text, allowed_special="all") == ids
    assert Tokenizer.from_tiktoken(encoding).encode(text, allowed_special="all") == ids
    assert encoding.decode(ids) == trained.decode(ids)


def test_two_names_for_one_special_id():
    """o200k_harmony names id 200018 both <|endofprompt|> and <|reserved_200018|>."""
    harmony = Tokenizer.from_tiktoken(load_encoding("o200k_harmony"))
    assert harmony.encode("<|endofprompt|><|reserved_200018|>", allowed_special="all") == [200018, 200018]
    assert harmony.decode([200018]) == "<|endofprompt|>"


# Properties


@given(text=st.text())
def test_round_trip(trained, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert b"".join(trained.pieces(ids)) == trained.decode_bytes(ids) == text.encode()
    assert not set(ids) & set(trained.special_tokens.values())


def test_training_on_a_stream_equals_training_on_a_list():
    assert Tokenizer.train(iter(TEXTS[:20]), 400).ranks == Tokenizer.train(TEXTS[:20], 400).ranks


def test_special_tokens_are_borders_between_documents():
    joined = Tokenizer.train(END.join(TEXTS[:20]), 400, special_tokens=[END])
    assert joined.ranks == Tokenizer.train(TEXTS[:20], 400, special_tokens=[END]).ranks


def test_saved_and_loaded_tokenizer_gives_the_same_ids(trained, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    loaded = Tokenizer.load(path)
    text = "".join(AWKWARD) + TEXTS[1]
    assert loaded.encode(text, allowed_special="all") == trained.encode(text, allowed_special="all")
    assert (loaded.ranks, loaded.pattern) == (trained.ranks, GPT4_PATTERN)
    assert loaded.special_tokens == {END: 798, "<|pad|>": 799}
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


def test_any_damage_to_a_file_is_refused_or_harmless(trained, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    data = path.read_bytes()
    generator = random.Random(0)
    damaged = [data[:n] for n in (0, 1, len(data) // 2, len(data) - 3)]
    damaged += [
        data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]
        for at in generator.sample(range(len(data)), 150)
    ]
    survivors = [loaded for content in damaged if (loaded := load_or_none(path, content)) is not None]
    assert all(loaded.ranks == trained.ranks for loaded in survivors)
    assert len(survivors) < 20  # damage to white space between JSON values


def load_or_none(path, content):
    path.write_bytes(content)
    try:
        return Tokenizer.load(path)
    except ValueError:
        return None


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"format": "other"}', "not JSON", "[" * 100_000])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is damaged"):
        Tokenizer.load(path)


def test_an_interrupted_save_leaves_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(tokenizer_module.os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        Tokenizer.train("", 256).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_memory_of_seen_pieces_is_bounded(monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_MAX_REMEMBERED_PIECES", 10)
    tokenizer = Tokenizer.train("", 256)
    text = " ".join(map(str, range(1000))) + " " + "x" * 1000
    assert tokenizer.encode(text) == list(text.encode())
    assert len(tokenizer._ids_of) <= 10
    assert max(map(len, tokenizer._ids_of)) <= 32


def test_a_pickled_tokenizer_gives_the_same_ids(trained):
    copy = pickle.loads(pickle.dumps(trained))
    assert copy.encode(TEXTS[2]) == trained.encode(TEXTS[2])


# Errors


@pytest.mark.parametrize(("size", "specials"), [(255, []), (256, [END]), (0, [])])
def test_too_small_vocabularies_are_refused(size, specials):
    with pytest.raises(ValueError, match=f"vocab_size={size} .*at least {256 + len(specials)}"):
        Tokenizer.train("abc", size, special_tokens=specials)


@pytest.mark.parametrize("specials", [END, [END, END], [""]])
def test_special_tokens_must_be_a_list_of_names(specials):
    with pytest.raises(ValueError, match=r"special_tokens=.*must be a list of names"):
        Tokenizer.train("abc", 300, special_tokens=specials)


def test_unknown_names_in_allowed_special_are_refused(trained):
    with pytest.raises(ValueError, match=r"'<\|nope\|>'.*'<\|endoftext\|>'"):
        trained.encode("abc", allowed_special={"<|nope|>"})
    with pytest.raises(ValueError, match="must be a list"):
        trained.encode("abc", allowed_special=END)


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, torch.tensor])
def test_any_kind_of_integers_can_be_decoded(trained, kind):
    assert trained.decode(kind([104, 105])) == "hi"


@pytest.mark.parametrize("ids", ["97", [97.0], [None], torch.tensor([[97, 98]])])
def test_ids_that_are_no_integers_are_refused(trained, monkeypatch, ids):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(TypeError, match="integer"):
        trained.decode(ids)


@pytest.mark.parametrize("unknown", [800, -1])
def test_unknown_ids_are_named(trained, unknown):
    with pytest.raises(ValueError, match=f"id {unknown} is not in this vocabulary of 800 ids"):
        trained.decode([97, unknown])


def test_inconsistent_vocabularies_are_refused():
    bytes_only = {bytes([b]): b for b in range(256)}
    with pytest.raises(ValueError, match=r"lack the single bytes \[255\]"):
        Tokenizer({token: i for token, i in bytes_only.items() if i < 255})
    with pytest.raises(ValueError, match="257 tokens share 256 ids"):
        Tokenizer({**bytes_only, b"ab": 7})
    with pytest.raises(ValueError, match="taken by ordinary tokens"):
        Tokenizer(bytes_only, special_tokens={END: 7})
    with pytest.raises(ValueError, match="empty string"):
        Tokenizer(bytes_only, special_tokens={"": 256})


def test_the_file_is_plain_json(trained, tmp_path):
    trained.save(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["ranks"]["YQ=="] == 97  # base64 of "a"
