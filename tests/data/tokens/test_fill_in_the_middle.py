import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmguide.data.documents import Document
from llmguide.data.tokens.fill_in_the_middle import SENTINELS, FillInTheMiddle, Parts, cut
from llmguide.data.tokens.token_files import write_shards
from llmguide.tokenization.openai import load_encoding
from llmguide.tokenization.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train("", 260, special_tokens=[*SENTINELS, "<|endoftext|>"])
PRE, SUF, MID = 256, 257, 258
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def ids(text: str) -> list[int]:
    return list(text.encode())


# By hand: section 3 and appendix D of the paper


def test_both_orders():
    fim = FillInTheMiddle(TOKENIZER)
    parts = Parts("ab", "cd", "ef")
    assert fim.encode(parts) == [PRE, *ids("ab"), SUF, *ids("ef"), MID, *ids("cd")]
    assert fim.encode(parts, spm=True) == [PRE, SUF, *ids("ef"), MID, *ids("ab"), *ids("cd")]
    assert fim.restore(fim.encode(parts)) == parts
    assert fim.restore(fim.encode(parts, spm=True)) == Parts("", "abcd", "ef")


def test_a_prompt_is_a_document_without_its_middle():
    fim = FillInTheMiddle(TOKENIZER)
    for spm in (False, True):
        whole, prompt = (fim.encode(Parts("ab", middle, "ef"), spm=spm) for middle in ("cd", ""))
        assert whole == [*prompt, *ids("cd")]


def test_parts_are_encoded_each_by_itself():
    fim = FillInTheMiddle(load_encoding("cl100k_base"))  # the ids of OpenAI's own sentinels
    found = fim.encode(Parts("He", "llo wor", "ld"))
    encode = load_encoding("cl100k_base").encode
    assert found == [100258, *encode("He"), 100260, *encode("ld"), 100259, *encode("llo wor")]


# Properties


@given(TEXT, st.integers(0, 1000), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_the_text_comes_back(text, seed, spm_rate):
    fim = FillInTheMiddle(TOKENIZER, rate=1.0, spm_rate=spm_rate, seed=seed)
    found = fim(Document(text, "id", ""))
    assert ("".join(fim.restore(found)) if text else found) == (text or [])
    assert Counter(found) == Counter([*ids(text), *([PRE, SUF, MID] if text else [])])


def test_cuts_are_uniform_over_all_pairs_of_places():
    draw = random.Random(0)
    counts = Counter(cut("abc", draw) for _ in range(16_000))
    # of 4 x 4 ordered pairs, each of the 6 unequal cuts comes from two, each of the 4 equal ones from one
    for parts, n in counts.items():
        assert n == pytest.approx(1000 if not parts.middle else 2000, rel=0.1)
    assert len(counts) == 10


def test_rates_are_kept():
    fim = FillInTheMiddle(TOKENIZER, rate=0.7, spm_rate=0.4)
    found = [fim(Document("some text", str(i), "")) for i in range(4000)]
    transformed = [x for x in found if PRE in x]
    spm = [x for x in transformed if x[1] == SUF]
    # five standard errors; PSM with an empty prefix, one cut in 10 x 10 and 18 more, also begins PRE SUF
    assert len(transformed) / 4000 == pytest.approx(0.7, abs=5 * (0.7 * 0.3 / 4000) ** 0.5)
    expected = 0.4 + 0.6 * 19 / 100
    assert len(spm) / len(transformed) == pytest.approx(expected, abs=5 * (0.25 / 2800) ** 0.5)
    assert [x for x in found if PRE not in x] == [ids("some text")] * (4000 - len(transformed))


def test_it_depends_on_id_and_seed_alone():
    document = Document("a longer text than most", "some id", "")
    fim = FillInTheMiddle(TOKENIZER, rate=1.0, seed=3)
    code = (
        "from tests.data.tokens.test_fill_in_the_middle import *\n"
        "document = Document('a longer text than most', 'some id', 'elsewhere')\n"
        "print(FillInTheMiddle(TOKENIZER, rate=1.0, seed=3)(document))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == str(fim(document))
    others = [FillInTheMiddle(TOKENIZER, rate=1.0, seed=seed)(document) for seed in range(20)]
    assert len(set(map(tuple, others))) > 10


def test_shards_of_transformed_documents(tmp_path):
    fim = FillInTheMiddle(TOKENIZER, rate=1.0)
    documents = [Document(f"text number {i}", str(i), "") for i in range(5)]
    shards = write_shards(documents, TOKENIZER, tmp_path, encode=fim, shard_tokens=11)
    for i, document in enumerate(documents):
        *found, end = shards.document(i).tolist()
        assert end == 259
        assert "".join(fim.restore(found)) == document.text
    with pytest.raises(ValueError, match=r"encode='FillInTheMiddle\(rate=0.5"):
        write_shards(documents, TOKENIZER, tmp_path, encode=FillInTheMiddle(TOKENIZER), shard_tokens=11)


# Adversaries


def test_sentinels_in_the_text_are_text():
    fim = FillInTheMiddle(TOKENIZER, rate=1.0)
    text = "how <|fim_prefix|> and <|fim_middle|> look"
    assert "".join(fim.restore(fim(Document(text, "id", "")))) == text


@pytest.mark.parametrize(
    "wrong", [[], [PRE, SUF], [97, PRE, SUF, MID], [PRE, MID, SUF], [PRE, SUF, MID, MID], [97]]
)
def test_what_was_not_transformed_is_not_restored(wrong):
    with pytest.raises(ValueError, match="once each in this order"):
        FillInTheMiddle(TOKENIZER).restore(wrong)


def test_a_tokenizer_without_sentinels_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        FillInTheMiddle(Tokenizer.train("", 256))


@pytest.mark.parametrize("rates", [{"rate": 1.1}, {"rate": -0.1}, {"spm_rate": 2}, {"rate": float("nan")}])
def test_rates_are_shares(rates):
    with pytest.raises(ValueError, match="must be between"):
        FillInTheMiddle(TOKENIZER, **rates)
