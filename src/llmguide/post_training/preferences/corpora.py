r"""Human preference data: which of two texts raters preferred, for a reward model or DPO.

There are two sources. `sentiment_pairs` pairs texts from Hutto and Gilbert (2014), each rated from -4 to 4 by
at least 15 annotators: which is more positive? The individual ratings are published, so each text's
annotators are split into two panels. The first decides which text is preferred; the second measures
inter-annotator agreement, which no model can be expected to exceed. `hh_pairs` reads the format of
Anthropic's HH-RLHF: two transcripts that end in different responses, one of them preferred.

Texts of one side, training or held out, never occur on the other. Within a side they occur in several pairs,
which are therefore not independent: see `llmguide.post_training.preferences.baselines.accuracy_interval`.

References: Hutto & Gilbert 2014, "VADER: a parsimonious rule-based model for sentiment analysis of social
media text" (ICWSM); Bai et al. 2022, arXiv:2204.05862 (HH-RLHF).

Leaves out: rankings of more than two answers. The ratings are of sentiment, not of helpfulness.
"""

import ast
import html
import tarfile
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from llmguide.data.fetch import fetch_package, local_copy
from llmguide.data.rows import read_rows
from llmguide.data.splits import Split, in_validation
from llmguide.post_training.datasets import TextPair, hh_row

Source = Literal["movies", "tweets", "products", "editorials"]
FILES: dict[Source, str] = {
    "movies": "movieReviewSnippets",
    "tweets": "tweets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}
HELD_OUT = 0.2  # fraction of the texts, or of the conversations
HH_COPY, HH_HUB = "hh_harmless_part1.jsonl.gz", "Anthropic/hh-rlhf"


class RatedText(NamedTuple):
    """A text with its human ratings.

    Attributes:
        id: Source and number of the text.
        text: Text as its author wrote it.
        ratings: Individual ratings from -4, most negative, to 4.
        group: Document that the text was cut from, such as a review; the text itself if that is unknown.
    """

    id: str
    text: str
    ratings: tuple[int, ...]
    group: str

    def panels(self) -> tuple[float, float]:
        """Return the mean rating of each half of the annotators, split by their order in the file.

        >>> RatedText("tweets:1", "Yay.", (3, 1, 4, 2, 2), "Yay.").panels()
        (3.0, 1.5)
        """
        first, second = self.ratings[::2], self.ratings[1::2]
        return sum(first) / len(first), sum(second) / len(second)


def rated_texts(
    sources: Collection[Source] = ("movies", "tweets"), *, archive: Path | None = None
) -> list[RatedText]:
    """Read rated texts, each text once.

    Rows whose published mean differs from the mean of their ratings are left out (195 tweets), because it is
    unknown which of the two is right.

    Args:
        sources: Names of the files. Editorials are sentences of the New York Times, under its copyright.
        archive: The file ``hutto_ICWSM_2014.tar.gz``; None: that of the ``vader-ratings`` package, fetched
            once.

    Raises:
        ValueError: The archive lacks a source.
    """
    if archive is None:
        archive = next(fetch_package("vader-ratings").rglob("hutto_ICWSM_2014.tar.gz"))
    found: dict[str, RatedText] = {}
    with tarfile.open(archive) as tar:
        for source in sources:
            texts = dict(_columns(tar, f"{FILES[source]}_GroundTruth.txt"))
            for number, (_, _, written) in _columns(tar, f"{FILES[source]}_anonDataRatings.txt"):
                if number not in texts:
                    continue
                published, text = float(texts[number][0]), html.unescape(texts[number][1]).strip()
                ratings = tuple(int(rating) for rating in ast.literal_eval(written))
                group = f"{source}:{number.split('_')[0]}" if "_" in number else _normal(text)
                if abs(sum(ratings) / len(ratings) - published) < 0.01 and len(ratings) > 1 and text:
                    rated = RatedText(f"{source}:{number}", text, ratings, group)
                    found.setdefault(_normal(text), rated)
    return list(found.values())


def sentiment_pairs(
    split: Split,
    n: int,
    *,
    texts: Sequence[RatedText] | None = None,
    held_out: float = HELD_OUT,
    seed: int = 0,
) -> list[TextPair]:
    """Sample pairs of texts from one source, of which the first panel rated one more positive on average.

    Args:
        split: Split of the texts; all texts of a group are in the same one.
        n: Number of pairs, all different.
        texts: Texts of `rated_texts`; None: movies and tweets.
        held_out: Fraction of the groups that is used for validation.
        seed: Seed of the sampling.

    Raises:
        ValueError: There are not so many pairs.

    >>> def rated(name, rating):
    ...     return RatedText(f"tweets:{name}", name, (rating, rating), name)
    >>> texts = [rated("ugh", -3), rated("well", 0), rated("yay", 3)]
    >>> [pair] = sentiment_pairs("validation", 1, texts=texts[:2], held_out=1.0)
    >>> pair.chosen, pair.rejected, pair.seconded
    ('well', 'ugh', 1.0)
    """
    texts = rated_texts() if texts is None else texts
    side = [text for text in texts if in_validation(text.group, held_out) == (split == "validation")]
    by_source: dict[str, list[RatedText]] = {}
    for text in side:
        by_source.setdefault(text.id.partition(":")[0], []).append(text)
    generator = np.random.default_rng((seed, split == "validation"))
    pairs: dict[tuple[str, str], TextPair] = {}
    for _ in range(50 * n + 1000 if side else 0):  # about half of all samples are in the right order
        if len(pairs) == n:
            break
        a = side[generator.integers(len(side))]
        group = by_source[a.id.partition(":")[0]]
        b = group[generator.integers(len(group))]
        first, second = (x - y for x, y in zip(a.panels(), b.panels(), strict=True))
        if first > 0:  # else a tie, one text twice, or the reverse of another pair
            seconded = 0.5 if second == 0 else float(second > 0)
            pairs[a.id, b.id] = TextPair([], a.text, b.text, (a.id, b.id), seconded)
    if len(pairs) < n:
        raise ValueError(f"n={n}: the {len(side)} texts for {split} gave {len(pairs)} pairs; ask for fewer")
    return list(pairs.values())


def hh_pairs(path: str | Path | None = None) -> list[TextPair]:
    """Read comparisons in the format of HH-RLHF: ``chosen`` and ``rejected``, transcripts of all turns.

    Pairs whose transcripts are equal, or differ before the last response, are left out with a warning that
    counts them.

    Args:
        path: A file, or the name of a data set of the hub, for `read_rows`. None: a copy in the folder
            ``LLMGUIDE_DATA``, else ``Anthropic/hh-rlhf`` (its harmless-base part) of the hub, which needs
            ``llmguide[data]``. The texts are meant to be offensive in part.

    Raises:
        ValueError: A row is no such pair; the message names its line.
        ConnectionError: The hub cannot be reached.
    """
    place = local_copy(HH_COPY) or HH_HUB if path is None else path
    part = {"data_dir": "harmless-base"} if place == HH_HUB else {}
    try:
        found = [hh_row(row, where) for where, row in read_rows(place, **part)]
    except ConnectionError as error:
        raise ConnectionError(
            f"{error}; or put a copy named {HH_COPY} into the folder that LLMGUIDE_DATA names"
        ) from error
    pairs = [pair for pair in found if pair is not None]
    if dropped := len(found) - len(pairs):
        warnings.warn(
            f"{place}: {dropped} of {len(found)} pairs do not differ in the last answer alone "
            "and are left out",
            stacklevel=2,
        )
    return pairs


def divide(pairs: Iterable[TextPair], *, held_out: float = HELD_OUT) -> tuple[list[TextPair], list[TextPair]]:
    """Split comparisons into training and validation; those that share their first unit stay together.

    >>> pairs = [TextPair([], "x", "y", (name,)) for name in "abcdefgh"]
    >>> [[pair.units[0] for pair in side] for side in divide(pairs, held_out=0.5)]
    [['a', 'g', 'h'], ['b', 'c', 'd', 'e', 'f']]
    """
    sides: tuple[list[TextPair], list[TextPair]] = ([], [])
    for pair in pairs:
        sides[in_validation(pair.units[0], held_out)].append(pair)
    return sides


def _columns(tar: tarfile.TarFile, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the first column of each line of a file in an archive, and the others."""
    member = next((m for m in tar if m.name.endswith(f"/{name}")), None)
    file = None if member is None else tar.extractfile(member)
    if file is None:
        raise ValueError(f"{tar.name!r} has no {name}; it is not the archive of Hutto and Gilbert 2014")
    # UTF-8 with a byte-order mark, and some bytes of another encoding
    for line in file.read().decode("utf-8-sig", errors="replace").split("\n"):
        first, *rest = line.rstrip("\r").split("\t")
        if rest:
            yield first, rest


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
