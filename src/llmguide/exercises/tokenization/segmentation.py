"""Exercises of tokenizers that choose tokens from a vocabulary: WordPiece, Unigram."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Any

from llmguide.exercises.definition import Arguments, Exercise, Mistake

# ---- WordPiece -------------------------------------------------------------------------------------

Vocabulary = frozenset[str]


def wordpiece(
    word: str,
    vocabulary: Vocabulary,
    *,
    longest: bool = True,
    mark: str = "##",
    unknown: Callable[[list[str], int], list[str]] = lambda tokens, length: ["[UNK]"],
) -> list[str]:
    """Split a word into the longest tokens from the left, with switches for the mistakes.

    >>> wordpiece("unable", frozenset({"un", "u", "##n", "##able", "##a"}))
    ['un', '##able']
    """
    tokens: list[str] = []
    start = 0
    while start < len(word):
        ends = range(len(word), start, -1) if longest else range(start + 1, len(word) + 1)
        names = ((end, mark * (start > 0) + word[start:end]) for end in ends)
        end, name = next(((end, name) for end, name in names if name in vocabulary), (start, ""))
        if not name:
            return unknown(tokens, len(word) - start)
        tokens.append(name)
        start = end
    return tokens


def _with_unknown_characters(word: str, vocabulary: Vocabulary) -> list[str]:
    tokens: list[str] = []
    start = 0
    while start < len(word):
        names = [("##" if start else "") + word[start:end] for end in range(len(word), start, -1)]
        i = next((i for i, name in enumerate(names) if name in vocabulary), len(names) - 1)
        tokens.append(names[i] if names[i] in vocabulary else "[UNK]")
        start = len(word) - i
    return tokens


def _splits(word: str) -> Iterator[list[str]]:
    """Return all ways to cut a word into parts."""
    if not word:
        yield []
    for end in range(1, len(word) + 1):
        yield from ([word[:end], *rest] for rest in _splits(word[end:]))


def _fewest_wordpieces(word: str, vocabulary: Vocabulary) -> list[str]:
    marked = ([part if i == 0 else f"##{part}" for i, part in enumerate(parts)] for parts in _splits(word))
    return min((parts for parts in marked if vocabulary.issuperset(parts)), key=len, default=["[UNK]"])


def _wordpiece_probes() -> list[Arguments]:
    inside = ("n", "a", "f", "ff", "aff", "able", "b", "e", "d", "cd", "cde", "l")
    first = {"un", "able", "u", "a", "b", "ab", "abc", "n", "aff"}
    vocabulary = frozenset(first | {f"##{part}" for part in inside})
    words = "unaffable", "unable", "abcd", "abcde", "unaxe", "abx", "x", ""
    return [(word, vocabulary) for word in words] + [("bcd", vocabulary)]


# ---- Unigram ---------------------------------------------------------------------------------------

Logprobs = Mapping[str, float]


def unigram(
    word: str,
    logprobs: Logprobs,
    *,
    score: Callable[[str, float], float] = lambda token, logprob: logprob,
) -> list[str] | None:
    """Find the most probable segmentation of a word by dynamic programming, with a switch for the mistakes.

    >>> unigram("abab", {"a": -1.0, "b": -1.0, "ab": -1.5, "aba": -3.0})
    ['ab', 'ab']
    """
    best: list[tuple[float, list[str]] | None] = [(0.0, [])]
    for end in range(1, len(word) + 1):
        found = None
        for start, before in enumerate(best):
            token = word[start:end]
            if before is not None and token in logprobs:
                total = before[0] + score(token, logprobs[token])
                if found is None or total > found[0]:
                    found = total, [*before[1], token]
        best.append(found)
    return None if best[-1] is None else best[-1][1]


def _of_all_splits(word: str, logprobs: Logprobs, *, mean: bool = False) -> list[str] | None:
    """Compare all segmentations."""
    found, largest = None, -inf
    for parts in _splits(word):
        if all(part in logprobs for part in parts):
            total = sum(logprobs[part] for part in parts) / (max(len(parts), 1) if mean else 1)
            found, largest = (parts, total) if total > largest else (found, largest)
    return found


def _token_by_token(word: str, logprobs: Logprobs, key: Callable[[str, Logprobs], float]) -> list[str] | None:
    """Take the best token from the left again and again."""
    tokens: list[str] = []
    while word:
        known = [word[:end] for end in range(1, len(word) + 1) if word[:end] in logprobs]
        if not known:
            return None
        tokens.append(max(known, key=lambda token: key(token, logprobs)))
        word = word[len(tokens[-1]) :]
    return tokens


class _Counted(dict[str, float]):
    """A dict that counts how often it is asked for a key."""

    n_lookups = 0

    def __getitem__(self, key: str) -> float:
        self.n_lookups += 1
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.n_lookups += 1
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.n_lookups += 1
        return super().get(key, default)


def _with_lookups(function: Callable[..., Any], arguments: Arguments) -> tuple[Any, str]:
    """Observe a segmentation, and whether the number of look-ups grows faster than the square."""
    word, logprobs = arguments
    counted = _Counted(logprobs)
    result = function(word, counted)
    return result, "too many look-ups" if counted.n_lookups > 4 * len(word) ** 2 + 4 else "few look-ups"


def _unigram_probes() -> list[Arguments]:
    letters = dict.fromkeys("hugspnbc", -4.0) | {"s": -3.5, "h": -3.0}
    tokens = {
        "hug": -4.2,
        "hugs": -9.0,
        "ug": -3.2,
        "un": -3.9,
        "pu": -5.1,
        "gs": -2.0,
        "hu": -3.3,
        "bun": -8.5,
    }
    many = {"a": -2.0, "b": -2.3, "ab": -3.6, "ba": -3.9, "aba": -5.25, "aab": -5.13, "abaab": -7.77}
    words = "hugs", "pun", "bunhug", "hugpuns", "x", "hug"
    return [(word, letters | tokens) for word in words] + [("abaababaabaab", many)]


EXERCISES = (
    Exercise(
        "wordpiece",
        "wordpiece(word, vocabulary) splits a word as the tokenizer of BERT does, and returns the list of "
        "its tokens. `vocabulary` is a set of strings. Go from left to right; each token is the longest one "
        "in the vocabulary that matches at this position. A token that does not start the word begins with "
        "`##`, in the vocabulary and in the result. If nothing matches at some position, the whole word "
        "becomes the one token `[UNK]`. An empty word has no tokens.",
        wordpiece,
        _wordpiece_probes,
        (
            Mistake(
                "shortest token first",
                "the shortest token that matches is taken",
                "Try the rest of the word first, then make it shorter by one character at a time.",
                partial(wordpiece, longest=False),
            ),
            Mistake(
                "continuations not marked",
                "tokens inside a word are looked up without the two number signs",
                "After the first token, the vocabulary has the tokens with ## in front.",
                partial(wordpiece, mark=""),
            ),
            Mistake(
                "unknown only from the position on",
                "the tokens before the unknown part are kept",
                "BERT gives up the whole word: the result is one [UNK].",
                partial(wordpiece, unknown=lambda tokens, length: [*tokens, "[UNK]"]),
            ),
            Mistake(
                "one unknown token for each character",
                "every character from the unknown part on becomes an [UNK]",
                "The result of an unknown word has one entry.",
                partial(wordpiece, unknown=lambda tokens, length: [*tokens, *["[UNK]"] * length]),
            ),
            Mistake(
                "fewest tokens",
                "the segmentation with the fewest tokens is returned",
                "WordPiece does not look ahead: the longest token is taken even if the rest cannot be split.",
                _fewest_wordpieces,
            ),
            Mistake(
                "result without marks",
                "tokens inside a word are returned without the two number signs",
                "They belong to the token. Without them, the word cannot be told from several words.",
                lambda word, vocabulary: [part.removeprefix("##") for part in wordpiece(word, vocabulary)],
            ),
            Mistake(
                "unknown character skipped",
                "a character that matches nothing becomes [UNK], and the rest of the word is split",
                "The word as a whole becomes one [UNK].",
                _with_unknown_characters,
            ),
        ),
        (
            "Two loops: one over the positions where a token starts, one over the positions where it may "
            "end.",
            "The longest token comes first if the inner loop begins at the end of the word.",
            "After a token, go on where it ended. If the inner loop finds none, return at once.",
        ),
        level="medium",
        minutes=15,
        after="BPE replays merges, WordPiece takes the longest match, and Unigram compares all "
        "segmentations. The same vocabulary can therefore give three different results.",
    ),
    Exercise(
        "unigram",
        "unigram(word, logprobs) returns the most probable segmentation of a word in a Unigram model, as a "
        "list of tokens, or None if the tokens cannot make the word. `logprobs` maps each token to its "
        "log-probability. The tokens of a segmentation are independent. The word has at least one "
        "character. There are no ties. The number of look-ups in `logprobs` may grow with the square of the "
        "length of the word, not faster; the test counts them.",
        unigram,
        _unigram_probes,
        (
            Mistake(
                "longest token",
                "the longest token is taken from the left",
                "A long token can be rare. Compare whole segmentations.",
                partial(_token_by_token, key=lambda token, logprobs: len(token)),
            ),
            Mistake(
                "most probable token",
                "the most probable token is taken from the left",
                "A good first token can leave a bad rest. Compare whole segmentations.",
                partial(_token_by_token, key=lambda token, logprobs: logprobs[token]),
            ),
            Mistake(
                "fewest tokens",
                "the segmentation with the fewest tokens is returned",
                "Two frequent tokens can be more probable than one rare token.",
                partial(unigram, score=lambda token, logprob: -1.0 + 1e-6 * logprob),
            ),
            Mistake(
                "mean instead of sum",
                "the log-probabilities are averaged over the tokens",
                "The probability of a segmentation is a product, so its logarithm is a sum.",
                partial(_of_all_splits, mean=True),
            ),
            Mistake(
                "all segmentations tried",
                "every segmentation is scored by itself",
                "The segmentation is right, but there are 2 ** (n - 1) of them. Store the best one of each "
                "prefix.",
                _of_all_splits,
            ),
            Mistake(
                "empty list for None",
                "a word that has no segmentation gives an empty list",
                "An empty list would be a segmentation with no tokens. Return None.",
                lambda word, logprobs: unigram(word, logprobs) or [],
            ),
            Mistake(
                "least probable",
                "the segmentation with the lowest probability is returned",
                "Log-probabilities are negative. The largest sum is the one closest to 0.",
                partial(unigram, score=lambda token, logprob: -logprob),
            ),
        ),
        (
            "How does the last token of the best segmentation relate to the best one of what is before it?",
            "For each prefix of the word, store the best total and the tokens that reach it.",
            "The best segmentation of word[:end] is, for some start, that of word[:start] and the token "
            "word[start:end].",
        ),
        level="medium",
        minutes=20,
        after="This is the Viterbi algorithm. The training of a Unigram model sums over all segmentations "
        "instead of taking the best one, and drops the tokens whose loss lowers the likelihood least.",
        observe=_with_lookups,
    ),
)
