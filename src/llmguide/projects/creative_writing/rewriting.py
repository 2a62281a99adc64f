"""Style transfer: rewrite a sentence in another style, and measure style and content.

There are no pairs of a sentence and its rewriting to learn from. So a model learns to write a sentence of a
style from its content words, and rewriting deletes all other words of a sentence and asks for the other
style. Content words are those that are not among the most frequent of both styles.

A naive Bayes classifier of character trigrams, trained on other works, measures the style. The content is the
fraction of the source's content words that the rewriting has. Each is easy alone: a copy has the content, and
a foreign sentence has the style. So their product is measured, too.

References: deletion (Li et al. 2018, arXiv:1804.06437, DeleteOnly); the product of style and content as a
score of a sentence (Krishna et al. 2020, arXiv:2010.05700, section 4).

Leaves out: fluency, which people have to judge, and the order of events.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log

from llmguide.data.cleaning.filters import sentences
from llmguide.data.corpora import load_corpus
from llmguide.data.splits import in_validation
from llmguide.projects.analysis.text_style import words
from llmguide.projects.creative_writing.texts import HELD_OUT, Plan, works

STYLES = {"shakespeare": "a play by Shakespeare", "speech": "a speech by a president of our time"}
CLASSIFIER = 0.5  # fraction of the works, held-out ones included, that the other model does not see
FIRST_SPEECH = "1980"  # year
N_FREQUENT = 150  # words of no content
SHORTEST, LONGEST = 8, 22  # words of a sentence
SWAPS = {  # of a baseline: modern words and their forms in the plays
    "you": "thou",
    "your": "thy",
    "yours": "thine",
    "has": "hath",
    "does": "doth",
    "before": "ere",
    "often": "oft",
    "over": "o'er",
    "never": "ne'er",
    "nothing": "naught",
    "yes": "ay",
}


def split_sentences() -> dict[str, dict[str, list[str]]]:
    """Read sentences of both styles: to learn from, for the classifier, and held out, of different works."""
    documents: dict[str, dict[str, list[str]]] = {
        "shakespeare": {"held out": works(Plan(), held_out=True), "train": works(Plan(), held_out=False)},
        "speech": {"held out": [], "train": []},
    }
    for speech in load_corpus():
        if speech.id >= FIRST_SPEECH:
            side = "held out" if in_validation(speech.id, HELD_OUT) else "train"
            documents["speech"][side].append(speech.text)
    return {
        style: {
            "held out": usable(sides["held out"]),
            "classifier": usable(sides["train"][::2]),
            "train": usable(sides["train"][1::2]),
        }
        for style, sides in documents.items()
    }


def usable(texts: Sequence[str]) -> list[str]:
    """Return the sentences of medium length, without speakers' names, directions and numbers."""
    lines = (" ".join(sentence.split()) for text in texts for sentence in sentences(text))
    return [
        line
        for line in lines
        if SHORTEST <= len(words(line)) <= LONGEST and not re.search(r"\b[A-Z]{2,}\b|[\[\]()_\d]|--", line)
    ]


@cache
def frequent_words() -> frozenset[str]:
    """Return the most frequent words of both styles together, which carry little content."""
    n: Counter[str] = Counter()
    for sides in split_sentences().values():
        found = Counter(word for sentence in sides["train"] for word in words(sentence))
        n.update({word: round(1e6 * count / found.total()) for word, count in found.items()})
    return frozenset(word for word, _ in n.most_common(N_FREQUENT))


def content(text: str) -> list[str]:
    """Return the content words of a text, in their order."""
    return [word for word in words(text) if word not in frequent_words()]


def whole_messages(text: str, style: str) -> tuple[dict[str, str], ...]:
    """Write the request for a model that was not fine-tuned, which gets the whole passage."""
    task = (
        f"You are a writer's assistant. Rewrite the passage in the style of {STYLES[style]}. Keep its "
        "content. Answer with the new passage alone."
    )
    return ({"role": "system", "content": task}, {"role": "user", "content": text})


def deleted_messages(text: str, style: str) -> tuple[dict[str, str], ...]:
    """Write the request for the fine-tuned model, which gets the content words alone."""
    return (
        {"role": "system", "content": f"Write a sentence in the style of {STYLES[style]} with these words."},
        {"role": "user", "content": ", ".join(content(text))},
    )


@dataclass(frozen=True)
class StyleClassifier:
    """Naive Bayes over the character trigrams of a sentence, with one pseudocount and equal priors.

    Attributes:
        counts: Counts of the trigrams of each style.

    >>> classifier = StyleClassifier.train({"shakespeare": ["thou art"], "speech": ["you are"]})
    >>> classifier.style("art thou")
    'shakespeare'
    """

    counts: Mapping[str, Counter[str]]

    @classmethod
    def train(cls, texts: Mapping[str, Sequence[str]]) -> "StyleClassifier":
        """Count the trigrams of the sentences of each style."""
        return cls({style: Counter(g for t in each for g in trigrams(t)) for style, each in texts.items()})

    def style(self, text: str) -> str:
        """Return the more likely style."""
        n_kinds = len(set().union(*self.counts.values()))

        def log_likelihood(style: str) -> float:
            counts = self.counts[style]
            return sum(log((counts[g] + 1) / (counts.total() + n_kinds)) for g in trigrams(text))

        return max(self.counts, key=log_likelihood)


def trigrams(text: str) -> list[str]:
    """Return the character trigrams of a text in lower case, without its line breaks.

    >>> trigrams("Ay!")
    [' ay', 'ay!', 'y! ']
    """
    padded = f" {' '.join(text.lower().split())} "
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


def overlap(source: str, text: str) -> float:
    """Return the fraction of the source's content words that a text has; 1 if the source has none."""
    wanted, has = set(content(source)), set(words(text))
    return len(wanted & has) / len(wanted) if wanted else 1.0


def nearest(source: str, pool: Sequence[str]) -> str:
    """Return the sentence of a pool that has most of the source's content words, the shortest of several."""
    return max(pool, key=lambda sentence: (overlap(source, sentence), -len(sentence)))


def swapped(text: str, style: str) -> str:
    """Replace single words by their forms in the other style.

    >>> swapped("You never know your friend.", "shakespeare")
    "Thou ne'er know thy friend."
    """
    table = SWAPS if style == "shakespeare" else {old: new for new, old in SWAPS.items()} | {"thee": "you"}

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        new = table.get(word.lower(), word)
        return new.capitalize() if word[0].isupper() else new

    return re.sub(r"[^\W\d_]+(?:'[^\W\d_]+)*", swap, text)
