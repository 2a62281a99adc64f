import hashlib
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.data.documents import Document
from llmguide.data.tokens.encode import fingerprint
from llmguide.data.tokens.token_files import Shards, write_shards
from llmguide.tokenization.openai import load_encoding
from llmguide.tokenization.tokenizer import Tokenizer

BYTES = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
EOS = 256


def documents(texts):
    return [Document(text, f"d{i}", "test") for i, text in enumerate(texts)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stream_of(texts) -> list[int]:
    return [i for text in texts if text for i in [*text.encode(), EOS]]


# By hand


def test_documents_end_with_the_end_of_text_and_are_cut_across_files(tmp_path):
    shards = write_shards(documents(["abc", "", "de", "f"]), BYTES, tmp_path, shard_tokens=4)
    #  a b c E | d e E f | E
    assert shards[:].tolist() == [97, 98, 99, EOS, 100, 101, EOS, 102, EOS]
    assert (len(shards), shards.n_documents, shards.index["n_empty"]) == (9, 3, 1)
    assert shards.starts().tolist() == [0, 4, 7, 9]
    assert [shards.document(i).tolist() for i in range(3)] == [[97, 98, 99, EOS], [100, 101, EOS], [102, EOS]]
    assert shards.document(-1).tolist() == [102, EOS]
    assert shards.bytes_per_token == 6 / 9
    assert np.fromfile(tmp_path / "tokens-00001.bin", "<u2").tolist() == [100, 101, EOS, 102]
    assert np.fromfile(tmp_path / "starts-00001.bin", "<u8").tolist() == [4, 7]
    digest = hashlib.sha256((tmp_path / "tokens-00001.bin").read_bytes()).hexdigest()
    assert digest in (tmp_path / "shard-00001.json").read_text()
    assert not [name for name in contents(tmp_path) if "unfinished" in name]


def test_elements_and_slices_are_those_of_an_array(tmp_path):
    shards = write_shards(documents(["abcdefg", "hij"]), BYTES, tmp_path, shard_tokens=3)
    whole = np.array(stream_of(["abcdefg", "hij"]))
    for start in (None, 0, 1, 3, 5, -2, 11, 12, 40):
        for stop in (None, 0, 1, 3, 7, -1, 12, 40):
            assert shards[start:stop].tolist() == whole[start:stop].tolist()
    assert [shards[i] for i in range(-12, 12)] == [*whole, *whole]
    with pytest.raises(IndexError):
        shards[12]
    with pytest.raises(ValueError, match="step=2"):
        shards[::2]


def test_more_than_65536_ids_take_four_bytes(tmp_path):
    encoding = load_encoding("cl100k_base")
    shards = write_shards(documents(["Antidisestablishmentarianism"]), encoding, tmp_path)
    assert shards.index["dtype"] == "<u4"
    assert shards[:].tolist() == [*encoding.encode("Antidisestablishmentarianism"), encoding.eot_token]


@pytest.mark.parity
def test_both_kinds_of_tokenizer_write_the_same_bytes(tmp_path):
    encoding = load_encoding("gpt2")
    texts = documents(["Hello, world! " * 50, "<|endoftext|> is text here", "naïve 🙂"])
    theirs = write_shards(texts, encoding, tmp_path / "theirs")
    ours = write_shards(texts, Tokenizer.from_tiktoken(encoding), tmp_path / "ours")
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    expected = [i for text in texts for i in [*encoding.encode_ordinary(text.text), 50256]]
    assert_parity(
        ours[:].tolist(),
        expected,
        of="llmguide.data.tokens.token_files.write_shards",
        against="tiktoken.Encoding.encode_ordinary",
        atol=0,
    )
    assert Shards(tmp_path / "theirs", Tokenizer.from_tiktoken(encoding))[0] == theirs[0]


# Properties


@given(
    texts=st.lists(st.text(max_size=8), max_size=6),
    size=st.integers(1, 9),
    stop_after=st.integers(0, 8),
)
@settings(max_examples=12, deadline=None)
def test_interrupted_anywhere_gives_the_bytes_of_an_uninterrupted_run(
    tmp_path_factory, texts, size, stop_after
):
    if not any(texts):
        return
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    expected = write_shards(documents(texts), BYTES, whole, shard_tokens=size)
    assert expected[:].tolist() == stream_of(texts)

    def failing():
        yield from documents(texts)[:stop_after]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(failing(), BYTES, parts, shard_tokens=size)
    with pytest.raises(ValueError, match="never finished"):
        Shards(parts)
    write_shards(documents(texts), BYTES, parts, shard_tokens=size)
    assert contents(parts) == contents(whole)
    write_shards(documents(texts), BYTES, parts, shard_tokens=size)  # again, now that it is complete
    assert contents(parts) == contents(whole)


@dataclass
class Noting:
    seen: list[str]

    def __call__(self, document, /):
        self.seen.append(document.id)
        return list(document.text.encode())

    def __repr__(self):
        return "Noting"


def test_what_is_in_finished_files_is_not_encoded_again(tmp_path):
    texts = documents(["abcd", "", "ef", "ghijkl", "m"])  # abcdE | efEgh | ijklE | mE
    write_shards(texts, BYTES, tmp_path, encode=Noting([]), shard_tokens=5)
    (tmp_path / "index.json").unlink()
    for left, again in ((3, ["d4"]), (2, ["d3", "d4"]), (1, ["d1", "d2", "d3", "d4"])):
        (tmp_path / f"shard-0000{left}.json").unlink()
        seen = []
        write_shards(texts, BYTES, tmp_path, encode=Noting(seen), shard_tokens=5)
        assert seen == again


def test_any_number_of_processes_writes_the_same_bytes(tmp_path):
    texts = documents(f"Text number {i}. " * (i * 97 % 700) for i in range(150))  # a few chunks
    write_shards(texts, BYTES, tmp_path / "1", shard_tokens=100_000)
    write_shards(iter(texts), BYTES, tmp_path / "2", shard_tokens=100_000, workers=2)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


SLOW_WRITER = """
import sys, time
from pathlib import Path
from llmguide.data.documents import Document
from llmguide.data.tokens.token_files import write_shards
from llmguide.tokenization.tokenizer import Tokenizer

def documents():
    for i in range(400):
        time.sleep(0.001)
        while len(list(Path(sys.argv[1]).glob("shard-*.json"))) >= 30:  # a busy machine kills late
            time.sleep(1)
        yield Document(f"number {i}. " * (i % 13), str(i), "")

tokenizer = Tokenizer.train("", 257, special_tokens=["<|endoftext|>"])
write_shards(documents(), tokenizer, sys.argv[1], shard_tokens=500)
"""


def test_killed_in_the_middle_goes_on(tmp_path):
    texts = [Document(f"number {i}. " * (i % 13), str(i), "") for i in range(400)]
    write_shards(texts, BYTES, tmp_path / "whole", shard_tokens=500)
    n_shards = len(list((tmp_path / "whole").glob("shard-*")))
    folder = tmp_path / "killed"
    for at_least in (3, 20):
        process = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, str(folder)])
        while len(list(folder.glob("shard-*.json"))) < at_least:
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()  # SIGKILL
        process.wait()
    assert at_least <= len(list(folder.glob("shard-*.json"))) < n_shards
    write_shards(texts, BYTES, folder, shard_tokens=500)
    assert contents(folder) == contents(tmp_path / "whole")


# Adversaries


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_a_corpus_without_tokens_is_refused(tmp_path, texts):
    with pytest.raises(ValueError, match=rf"none of the {len(texts)} documents"):
        write_shards(documents(texts), BYTES, tmp_path)
    assert contents(tmp_path) == {}


def test_one_document_longer_than_many_files(tmp_path):
    shards = write_shards(documents(["x" * 200]), BYTES, tmp_path, shard_tokens=7)
    assert len(list(tmp_path.glob("tokens-*"))) == 29  # ceil(201 / 7)
    assert shards.starts().tolist() == [0, 201]
    assert shards.document(0).tolist() == [ord("x")] * 200 + [EOS]


@pytest.mark.parametrize("fails", [1, 2, 3, 5])
def test_a_full_disk_leaves_what_is_complete(tmp_path, monkeypatch, fails):
    texts = documents(["abcdefg", "hij", "klmno"])
    write_shards(texts, BYTES, tmp_path / "whole", shard_tokens=4)
    calls = 0

    def fsync(_descriptor):
        nonlocal calls
        calls += 1
        if calls == fails:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        write_shards(texts, BYTES, tmp_path / "full", shard_tokens=4)
    assert not [name for name in contents(tmp_path / "full") if "unfinished" in name]
    write_shards(texts, BYTES, tmp_path / "full", shard_tokens=4)
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(content[:-1])
    elif kind == "longer":
        path.write_bytes(content + b"\0")
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["missing", "truncated", "longer", "flipped"])
@pytest.mark.parametrize("name", ["tokens-00001.bin", "starts-00001.bin", "shard-00001.json", "index.json"])
def test_damage_is_refused_by_name_and_mended_by_another_run(tmp_path, name, kind):
    texts = documents(["abc", "hij", "klmno"])
    write_shards(texts, BYTES, tmp_path, shard_tokens=4)
    whole = contents(tmp_path)
    damage(tmp_path / name, kind)
    with pytest.raises(ValueError, match=name):
        Shards(tmp_path, BYTES)
    looks_unfinished = name == "index.json" or (name, kind) == ("shard-00001.json", "missing")
    with nullcontext() if looks_unfinished else pytest.warns(UserWarning, match=name):
        write_shards(texts, BYTES, tmp_path, shard_tokens=4)
    assert contents(tmp_path) == whole


def test_without_verification_sizes_are_still_compared(tmp_path):
    write_shards(documents(["abcdefg"]), BYTES, tmp_path)
    damage(tmp_path / "tokens-00000.bin", "flipped")
    assert len(Shards(tmp_path, verify=False)) == 8
    damage(tmp_path / "tokens-00000.bin", "truncated")
    with pytest.raises(ValueError, match=r"tokens-00000\.bin should have 16 bytes, there is 15 bytes"):
        Shards(tmp_path, verify=False)


def test_another_tokenizer_is_refused(tmp_path):
    write_shards(documents(["abc"]), BYTES, tmp_path)
    other = Tokenizer.train("abab", 258, special_tokens=["<|endoftext|>"])
    with pytest.raises(ValueError, match="not with this tokenizer"):
        Shards(tmp_path, other)
    with pytest.raises(ValueError, match="is of a run with other options: vocabulary="):
        write_shards(documents(["abc"]), other, tmp_path)
    renamed = Tokenizer(BYTES.ranks, special_tokens={"<|end|>": 256})
    assert len({fingerprint(t) for t in (BYTES, other, renamed, Tokenizer(BYTES.ranks, pattern="a"))}) == 4


@dataclass(frozen=True)
class Reverse:
    amount: int = 1

    def __call__(self, document, /):
        return list(document.text.encode())[::-1]


def test_another_encoding_is_refused(tmp_path):
    shards = write_shards(documents(["abc"]), BYTES, tmp_path, encode=Reverse())
    assert shards[:].tolist() == [99, 98, 97, EOS]
    with pytest.raises(ValueError, match=r"encode='Reverse\(amount=2\)' \(there 'Reverse\(amount=1\)'\)"):
        write_shards(documents(["abc"]), BYTES, tmp_path, encode=Reverse(2))


@pytest.mark.parametrize(
    "others",
    [
        ["abcd", "efgh", "ij"],
        ["xbcd", "efg", "ij"],
        ["abcd"],
        ["abcd", "efg"],
        ["abcd", "efg", "ij", "k"],
        [],
    ],
)
def test_other_documents_are_refused(tmp_path, others):
    write_shards(documents(["abcd", "efg", "ij"]), BYTES, tmp_path, shard_tokens=5)
    with pytest.raises(ValueError, match="other documents"):
        write_shards(documents(others), BYTES, tmp_path, shard_tokens=5)


def test_an_end_of_text_is_needed(tmp_path):
    plain = Tokenizer.train("", 256)
    with pytest.raises(ValueError, match="eos_id=None is not among the 256 ids"):
        write_shards(documents(["a"]), plain, tmp_path)
    with pytest.raises(ValueError, match="eos_id=256"):
        write_shards(documents(["a"]), plain, tmp_path, eos_id=256)
    assert write_shards(documents(["a"]), plain, tmp_path, eos_id=0)[:].tolist() == [97, 0]


def test_a_vocabulary_without_special_tokens_of_either_kind(tmp_path):
    plain = Tokenizer.train("", 256)
    ours = write_shards(documents(["ab"]), plain, tmp_path / "ours", eos_id=0)
    theirs = write_shards(documents(["ab"]), plain.to_tiktoken(), tmp_path / "theirs", eos_id=0)
    assert ours[:].tolist() == theirs[:].tolist() == [97, 98, 0]
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


@pytest.mark.parametrize("choice", [{"shard_tokens": 0}, {"workers": 0}])
def test_bad_choices_are_refused(tmp_path, choice):
    with pytest.raises(ValueError, match="at least 1"):
        write_shards(documents(["a"]), BYTES, tmp_path, **choice)


def test_a_failing_encoder_stops_a_parallel_run(tmp_path):
    with pytest.raises(TypeError):
        write_shards(documents(["a"]), BYTES, tmp_path, encode=len, workers=2)
