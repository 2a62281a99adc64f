"""Repeated n-grams of a text, as Gopher's rules measure them.

Reference: Rae et al. 2021, arXiv:2112.11446, table A1. `llmguide.data.cleaning.filters.gopher_repetition`
uses a faster version.
"""

from collections import Counter


def top_ngram(words: list[str], n: int) -> int:
    """Count the characters that the most frequent n-gram of a text takes up.

    Occurrences may overlap, and one space is counted between words.

    Args:
        words: Words of the text.
        n: Number of words of an n-gram, at least 1.

    Returns:
        Length of the n-gram times its number of occurrences; of several equally frequent n-grams, the first
        in the text counts.

    >>> top_ngram(["a", "dog", "and", "a", "dog"], 2)  # "a dog" twice
    10
    """
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not ngrams:
        return 0
    ngram, count = Counter(ngrams).most_common(1)[0]
    return len(" ".join(ngram)) * count


def duplicate_ngrams(words: list[str], n: int) -> int:
    """Count the characters in n-grams that occurred earlier in the text.

    The text is read from left to right, and a duplicate is skipped as a whole, so that duplicates do not
    overlap. Spaces are not counted.

    Args:
        words: Words of the text.
        n: Number of words of an n-gram, at least 1.

    Returns:
        The number of characters in duplicates.

    >>> duplicate_ngrams(["a", "dog", "and", "a", "dog"], 2)
    4
    """
    seen: set[tuple[str, ...]] = set()
    n_characters = i = 0
    while i + n <= len(words):
        ngram = tuple(words[i : i + n])
        if ngram in seen:
            n_characters += len("".join(ngram))
            i += n
        else:
            seen.add(ngram)
            i += 1
    return n_characters
