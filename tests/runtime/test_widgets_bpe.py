"""Training and encoding in the tab: the merges and ids of llmguide, on texts of every kind."""

import random

import pytest
from tests.runtime.node import WIDGETS, node

from llmguide.tokenization.pretokenize import GPT2_PATTERN, Pretokenizer
from llmguide.tokenization.tokenizer import Tokenizer

BPE = WIDGETS / "bpe.js"
KINDS = [
    "the cat sat on the mat, the cat sat; ",
    "abababab aaaa bbb ",
    "I'll say it's 42 or 1,000,000! \n\n\t x = y**2  # why?\r\n",
    "Grüße, naïve café, Ζεύς, Война и мир, ",
    "こんにちは世界。你好,世界。안녕하세요 ",
    "שלום עולם، مرحبا بالعالم ",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 🤖🚀 e\u0301 ",
    "\u00a0\u2003\u0085\ufeff\u200b\u3000 ½ ² Ⅷ ٣ <|endoftext|> ",
]


def texts(n: int = 40) -> list[str]:
    """Mixtures of the kinds, cut at random."""
    rng = random.Random(5)
    made = ["", "a", "aa", "aaa", *KINDS]
    while len(made) < n:
        pool = "".join(rng.sample(KINDS, 3))
        made.append(
            "".join(rng.choice([pool, pool[: rng.randrange(9)], rng.choice(pool)]) for _ in range(12))
        )
    return made


def test_pieces_are_those_of_the_pattern() -> None:
    split = Pretokenizer(GPT2_PATTERN)
    assert node(BPE, "return given.texts.map((text) => m.split(text))", texts=texts()) == [
        split(text) for text in texts()
    ]


@pytest.mark.filterwarnings("ignore:the texts are too small")  # random texts run out of pairs
def test_training_learns_the_same_merges_in_the_same_order() -> None:
    n_merges = 60
    learned = node(
        BPE,
        """return given.texts.map((text) => {
          let training = m.startTraining(text);
          for (let next = training; next && next.merges.length <= given.n; next = m.mergeOnce(next))
            training = next;
          return training.tokens.map((token) => [...m.fromBinary(token)]);
        })""",
        texts=texts(),
        n=n_merges,
    )
    for text, tokens in zip(texts(), learned, strict=True):
        ours = Tokenizer.train(text, 256 + n_merges)
        assert [bytes(token) for token in tokens] == list(ours.ranks), text


def test_each_merge_is_the_most_frequent_pair_with_its_count() -> None:
    training = node(
        BPE,
        """let training = m.startTraining("aaabdaaabac");
        for (let i = 0; i < 3; i++) training = m.mergeOnce(training);
        return training""",
    )
    # aa occurs four times where it may overlap; then, of the two pairs that occur twice, the smaller
    assert training["merges"] == [
        {"pair": [97, 97], "count": 4},
        {"pair": [97, 98], "count": 2},
        {"pair": [256, 257], "count": 2},
    ]
    assert training["words"] == [{"ids": [258, 100, 258, 97, 99], "count": 1}]


def test_a_text_without_pairs_ends_the_training() -> None:
    assert node(BPE, 'return [m.mergeOnce(m.startTraining("")), m.mergeOnce(m.startTraining("a"))]') == [
        None,
        None,
    ]


@pytest.mark.filterwarnings("ignore:the texts are too small")
def test_encoding_gives_the_same_ids() -> None:
    ours = Tokenizer.train("".join(KINDS) * 3, 500)
    ids = node(
        BPE,
        """const ranks = m.ranksOf(given.tokens.map(m.toBinary));
        return given.texts.map((text) => m.encode(text, ranks))""",
        tokens=[list(token) for token in ours.ranks],
        texts=texts(),
    )
    assert ids == [ours.encode(text) for text in texts()]


@pytest.mark.filterwarnings("ignore:the texts are too small")
def test_a_long_piece_takes_a_few_lookups_a_byte_and_gives_the_same_ids() -> None:
    rng = random.Random(7)
    ours = Tokenizer.train("aaaaaaaaaaaaaaaa " * 3 + "".join(rng.choices("ab", k=3000)), 400)
    long = ["a" * 3000, "".join(rng.choices("ab", k=3000)), "".join(rng.choices("abc", k=3000))]
    found = node(
        BPE,
        """const ranks = m.ranksOf(given.tokens.map(m.toBinary));
        let lookups = 0;
        const counting = { get: (token) => (lookups++, ranks.get(token)) };
        return given.texts.map((text) => [m.encode(text, counting), lookups])""",
        tokens=[list(token) for token in ours.ranks],
        texts=long,
    )
    assert [ids for ids, _ in found] == [ours.encode(text) for text in long]
    # for each byte at most: one lookup with its neighbor, two after a merge, one of the id
    assert found[-1][1] < 5 * sum(map(len, long))


def test_half_a_character_is_replaced_as_in_tiktoken() -> None:
    assert node(BPE, 'return m.startTraining("a\\ud800").words')[0]["ids"] == [97]
    assert node(BPE, 'return m.startTraining("\\ud800").words')[0]["ids"] == list("\ufffd".encode())
