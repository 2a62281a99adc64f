r"""Quality filters for training text, as published: C4, Gopher, FineWeb, language.

A rule is a function from a text to None, which keeps it, or to a reason for dropping it, one of a few. `c4`
also rewrites: it drops lines. The papers do not define words and sentences, and C4 not the order of its
checks. In these points the rules follow datatrove, the library that made FineWeb, and agree with it document
by document on the same words and sentences. If datatrove differs from a paper, the rule follows the paper,
and the docstring says so.

| rule | paper |
| --- | --- |
| `c4` | Raffel et al. 2020, arXiv:1910.10683, section 2.2 |
| `gopher_quality`, `gopher_repetition` | Rae et al. 2021, arXiv:2112.11446, appendix A.1 and table A1 |
| `fineweb` | Penedo et al. 2024, arXiv:2406.17557, section 3.6 |
| `language` | the threshold of the same, section 3.3 |

A word is a run of letters, digits and underscores, with apostrophes inside; each other visible character is a
word, too, and so is ``...``. That suits languages with spaces between words; Chinese, Japanese and Thai need
a segmenter. The rules are tuned for English: Gopher's stop words drop other languages.

Repeated n-grams are measured by a faster version of `llmguide.data.cleaning.repetition`.

Leaves out: C4's list of bad words, which removes text by and about minorities (Dodge et al. 2021,
arXiv:2104.08758, section 5.3), its removal of repeated spans of three sentences, and quality classifiers.
"""

import itertools
import re
from collections.abc import Callable, Collection, Iterator
from functools import cache, lru_cache

from llmguide.data.cleaning._fast_repetition import FastRepetition
from llmguide.extras import import_extra

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|\.{3}|[^\w\s]")
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019)\]]*\s+")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_STOP_WORDS = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])
# Of Latin, Chinese, Japanese, Arabic, Devanagari, Armenian and Ethiopic script; datatrove lists more scripts
_TERMINAL = tuple(".!?‼‽⁇⁈⁉。！？｡．؟۔।॥։።፧")  # noqa: RUF001  # the ambiguous characters are intended
_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
_DUPLICATE_NGRAM = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def words(text: str) -> list[str]:
    """Split a text into words and punctuation, as the rules count them.

    >>> words("It isn't so... (No!)")
    ['It', "isn't", 'so', '...', '(', 'No', '!', ')']
    """
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """Split where a full stop, question or exclamation mark is followed by a space; so after "Mr." too.

    >>> sentences('He said "Go." She went! Why?')
    ['He said "Go." ', 'She went! ', 'Why?']
    """
    ends = [0, *(match.end() for match in _SENTENCE_END.finditer(text))]
    if ends[-1] < len(text):
        ends.append(len(text))
    return [text[a:b] for a, b in itertools.pairwise(ends)]


@lru_cache(maxsize=1)  # several rules see the same text in turn
def _words(text: str) -> list[str]:
    return words(text)


def c4(text: str, *, terminal_punctuation: bool = True) -> tuple[str, str | None]:
    """Drop lines that are not sentences, then decide on the remaining text: the heuristics of C4.

    In the order of C4's own code, a line is dropped that has a word over 1,000 characters, does not end in
    ``. ! ? " '`` or ends in ``...``, has fewer than 3 words, or mentions JavaScript or a cookie policy. The
    page is dropped if a line that reached the check contains "lorem ipsum" or a curly bracket, or if fewer
    than 5 sentences are left. Wikipedia's citation marks are removed. The long words and the policies are in
    the code, not in the paper. The thresholds, 3 words and 5 sentences, are those of FineWeb's library; C4's
    code and the current version of its paper have 5 words and 3 sentences.

    Args:
        text: Text of a page.
        terminal_punctuation: Whether to check the end of each line. FineWeb does not (section 3.5), because
            this check alone removes about 30% of the tokens.

    Returns:
        The lines kept, and None or the reason for dropping the page.

    >>> kept = "One is here. Two is here. Three is here. Four is here. Five is here."
    >>> c4("Home | About" + chr(10) + kept) == (kept, None)
    True
    >>> c4("Only two sentences. That is not enough.")[1]
    'c4: fewer than 5 sentences'
    """
    kept = []
    n_sentences = 0
    for stripped in map(str.strip, text.splitlines()):
        in_line = stripped.split()
        if len(stripped) > 1000 and max(map(len, in_line)) > 1000:
            continue
        line = _CITATION.sub("", stripped) if "[" in stripped else stripped
        if terminal_punctuation and (not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")):
            continue
        if len(in_line) < 3:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            return text, "c4: lorem ipsum"
        if "javascript" in lower:
            continue
        if "{" in line:
            return text, "c4: curly bracket"
        if any(phrase in lower for phrase in _POLICY):
            continue
        n_sentences += len(sentences(line))
        kept.append(line)
    if n_sentences < 5:
        return text, "c4: fewer than 5 sentences"
    return "\n".join(kept).strip(), None


def gopher_quality(text: str) -> str | None:
    """Drop text that does not look like prose: the quality rules of Gopher (appendix A.1).

    A text is kept if it has 50 to 100,000 words of 3 to 10 characters on average, at most 0.1 hashes and 0.1
    ellipses per word, at most 90% of lines that start with a bullet and 30% that end in an ellipsis, at least
    80% of the words with a letter, and at least 2 of the words the, be, to, of, and, that, have, with (in
    lower case). Punctuation counts as words in the ratios, but not in the first two rules; neither does the
    bullet, which datatrove's list of punctuation lacks.

    Args:
        text: Text of a page.

    Returns:
        None, or the reason for dropping the text.

    >>> gopher_quality("the end of every story " * 9)  # 45 words
    'gopher: fewer than 50 words'
    >>> gopher_quality("the end of every story " * 10) is None
    True
    """
    return next(_not_prose(text), None)


def _not_prose(text: str) -> Iterator[str]:
    words = _words(text)
    n_words = len(words)
    # a word starts with a letter, digit or underscore, unless it is punctuation
    proper = [word for word in words if word[0].isalnum() or word[0] == "_"]
    if len(proper) < 50:
        yield "gopher: fewer than 50 words"
    if len(proper) > 100_000:
        yield "gopher: more than 100,000 words"
    if not 3 <= sum(map(len, proper)) / len(proper) <= 10:
        yield "gopher: mean word length outside 3 to 10"
    if text.count("#") / n_words > 0.1:
        yield "gopher: hashes"
    if (text.count("...") + text.count("…")) / n_words > 0.1:
        yield "gopher: ellipses"
    lines = text.splitlines()
    if sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) > 0.9:
        yield "gopher: bullet points"
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > 0.3:
        yield "gopher: lines end in an ellipsis"
    if sum(word.isalpha() or any(map(str.isalpha, word)) for word in proper) / n_words < 0.8:
        yield "gopher: words without letters"
    if len(_STOP_WORDS.intersection(words)) < 2:
        yield "gopher: stop words"


def gopher_repetition(text: str) -> str | None:
    """Drop repetitive text: the thresholds of Gopher's table A1.

    | part | fraction above which the text is dropped |
    | --- | --- |
    | paragraphs or lines that occurred before | 30% of their number, 20% of the characters |
    | the most frequent 2-, 3-, 4-gram | 20%, 18%, 16% of the characters |
    | 5- to 10-grams that occurred before | 15%, 14%, 13%, 12%, 11%, 10% of the characters |

    An n-gram is n words. All occurrences of the most frequent one count, even overlapping ones, with one
    space between words; n-grams that occurred before are found from left to right and do not overlap.

    Args:
        text: Text of a page.

    Returns:
        None, or the reason for dropping the text.

    >>> gopher_repetition("A line." + chr(10) + "A line.")  # 1 of 2
    'gopher: duplicate lines'
    >>> gopher_repetition("all work and no play makes Jack a dull boy " * 2)  # 2 * 8 / 86, then 2 * 12 / 86
    'gopher: top 3-gram'
    """
    if not text:
        return "gopher: empty"
    for part, parts in (
        ("paragraphs", re.split(r"\n{2,}", text.strip())),
        ("lines", re.split(r"\n+", text)),
    ):
        n_duplicates, n_characters = _duplicates(parts)
        if n_duplicates / len(parts) > 0.30:
            return f"gopher: duplicate {part}"
        if n_characters / len(text) > 0.20:
            return f"gopher: characters in duplicate {part}"
    repetition = FastRepetition(_words(text))
    for n, threshold in _TOP_NGRAM.items():
        if repetition.top_ngram(n) / len(text) > threshold:
            return f"gopher: top {n}-gram"
    for n, threshold in _DUPLICATE_NGRAM.items():
        if repetition.duplicate_ngrams(n) / len(text) > threshold:
            return f"gopher: duplicate {n}-grams"
    return None


def _duplicates(parts: list[str]) -> tuple[int, int]:
    """Count the parts that occurred before, and their characters."""
    seen: set[str] = set()
    n_characters = 0
    for part in parts:
        if part in seen:
            n_characters += len(part)
        else:
            seen.add(part)
    return len(parts) - len(seen), n_characters


def fineweb(text: str) -> str | None:
    """Drop lists, menus and boilerplate: the three custom rules of FineWeb (section 3.6).

    A text is dropped if at most 0.12 of its lines end in punctuation, if at least 0.1 of its characters are
    in lines that occurred before, or if at least 0.67 of its lines are shorter than 30 characters. Blank
    lines are ignored. datatrove 0.10 uses 0.01 for the second rule, like the paper's table 2 but unlike its
    text; it keeps texts exactly at a threshold, counts 30 characters as short, and has a fourth rule on
    newlines per word.

    Args:
        text: Text of a page.

    Returns:
        None, or the reason for dropping the text.

    >>> fineweb(chr(10).join(["Home", "About us", "Prices from 10", "Contact"]))
    'fineweb: lines without end punctuation'
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return "fineweb: empty"
    if sum(line.endswith(_TERMINAL) for line in lines) / len(lines) <= 0.12:
        return "fineweb: lines without end punctuation"
    if sum(len(line) < 30 for line in lines) / len(lines) >= 0.67:
        return "fineweb: short lines"
    if _duplicates(lines)[1] / (len(text) - text.count("\n")) >= 0.1:
        return "fineweb: characters in duplicate lines"
    return None


def language(text: str, *, allowed: Collection[str] = ("en",), threshold: float = 0.65) -> str | None:
    """Drop text in other languages, by a naive Bayes classifier of byte n-grams (py3langid).

    FineWeb's threshold is for fastText's classifier, whose probabilities differ from this one's. It knows 97
    languages and returns one for any text, so code and gibberish may pass. It reads the first 1,000
    characters.

    Args:
        text: Text of a page.
        allowed: ISO 639-1 codes of the languages to keep.
        threshold: Smallest probability of the best language, 0 to 1.

    Returns:
        None, or the reason for dropping the text.

    Raises:
        ImportError: py3langid is missing.

    >>> language("Der schnelle braune Fuchs springt über den faulen Hund, und niemand schaut ihm dabei zu.")
    'language: de'
    """
    best, probability = _classifier()(text[:1000].encode("utf-8", "replace").decode())
    if best not in allowed:
        return f"language: {best}"
    if probability < threshold:
        return "language: uncertain"
    return None


@cache
def _classifier() -> Callable[[str], tuple[str, float]]:
    library = import_extra("py3langid.langid", "data", "the language rule")
    identifier = library.LanguageIdentifier.from_model_file(library.MODEL_FILE, norm_probs=True)
    classify: Callable[[str], tuple[str, float]] = identifier.classify
    return classify
