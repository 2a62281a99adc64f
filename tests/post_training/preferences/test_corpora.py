import gzip
import json
import os
import tarfile
from io import BytesIO

import pytest

from llmguide.data.fetch import PACKAGES, cache_folder
from llmguide.post_training.datasets import TextPair
from llmguide.post_training.preferences import corpora
from llmguide.post_training.preferences.corpora import (
    RatedText,
    divide,
    hh_pairs,
    rated_texts,
    sentiment_pairs,
)

RATED = {  # number: (published mean, text, ratings)
    "1": (2.5, "Yay &amp; hooray", [2, 3]),
    "2": (-1.0, "Ugh", [-1, -1]),
    "3": (1.5, "Published wrongly", [-3, -3]),
    "4": (3.0, "YAY &amp;  hooray", [3, 3]),
    "5": (0.0, "Na\xefve", [0, 0]),
}


def archive(folder, rated=RATED, name="tweets"):
    """Write an archive in the format of Hutto and Gilbert's: a mark, CRLF, a byte of another encoding."""
    path = folder / "hutto_ICWSM_2014.tar.gz"
    truth = "".join(f"{n}\t{mean}\t{text}\r\n" for n, (mean, text, _) in rated.items())
    ratings = "".join(f"{n}\t{mean}\t0.5\t{given}\r\n" for n, (mean, _, given) in rated.items())
    with tarfile.open(path, "w:gz") as tar:
        for kind, content in (
            ("GroundTruth", truth.encode("latin-1")),
            ("anonDataRatings", b"\xef\xbb\xbf" + ratings.encode()),
        ):
            info = tarfile.TarInfo(f"hutto_ICWSM_2014/{name}_{kind}.txt")
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
    return path


def scored(n, group=lambda i: f"group {i}"):
    return [RatedText(f"tweets:{i}", f"text {i}", (i % 9 - 4, i % 9 - 4), group(i)) for i in range(n)]


def test_texts_are_read_once_and_only_where_means_agree(tmp_path):
    found = rated_texts(["tweets"], archive=archive(tmp_path))
    assert [(text.id, text.text, text.ratings) for text in found] == [
        ("tweets:1", "Yay & hooray", (2, 3)),
        ("tweets:2", "Ugh", (-1, -1)),
        ("tweets:5", "Na\ufffdve", (0, 0)),
    ]


def test_sentences_of_a_review_stay_together(tmp_path):
    rated = {f"{review}_{i}": (1.0, f"{review} {i}", [1, 1]) for review in (1, 2) for i in (1, 2)}
    found = rated_texts(["products"], archive=archive(tmp_path, rated, "amazonReviewSnippets"))
    assert [text.group for text in found] == ["products:1", "products:1", "products:2", "products:2"]


def test_another_archive_says_so(tmp_path):
    with pytest.raises(ValueError, match="has no movieReviewSnippets_GroundTruth"):
        rated_texts(["movies"], archive=archive(tmp_path))


def test_pairs_are_what_the_first_panel_prefers_and_no_text_is_on_both_sides():
    texts = scored(300, group=lambda i: f"group {i // 2}")
    mean = {text.text: text.ratings[0] for text in texts}
    group = {text.text: text.group for text in texts}
    sides = {split: sentiment_pairs(split, 200, texts=texts) for split in ("train", "validation")}
    for pairs in sides.values():
        assert len({pair.units for pair in pairs}) == 200
        assert all(mean[pair.chosen] > mean[pair.rejected] for pair in pairs)
        assert all(pair.seconded == 1.0 for pair in pairs)
    groups = [{group[text] for pair in pairs for text in pair[1:3]} for pairs in sides.values()]
    assert not groups[0] & groups[1]
    assert sentiment_pairs("train", 200, texts=texts) == sides["train"]
    assert sentiment_pairs("train", 200, texts=texts, seed=1) != sides["train"]


def test_the_second_panel_may_disagree_or_be_undecided():
    def pair(high, low):
        texts = [RatedText("tweets:1", "a", high, "a"), RatedText("tweets:2", "b", low, "b")]
        return sentiment_pairs("train", 1, texts=texts, held_out=0.0)[0]

    assert pair((3, 1), (2, 1)).seconded == 0.5
    assert pair((3, 0), (2, 1)).seconded == 0.0
    assert pair((3, 0), (2, 1)).chosen == "a"


def test_too_many_pairs_are_refused():
    for n_texts in (0, 1, 5):
        with pytest.raises(ValueError, match=r"n=100: the \d texts for train gave"):
            sentiment_pairs("train", 100, texts=scored(n_texts), held_out=0.0)


def test_pairs_stay_within_a_source():
    texts = [RatedText(f"{source}:{i}", f"{source} {i}", (i, i), "") for source in "ab" for i in range(5)]
    pairs = sentiment_pairs("train", 20, texts=texts, held_out=0.0)
    assert all(pair.chosen[0] == pair.rejected[0] for pair in pairs)


def test_hh_reads_a_copy_and_counts_what_it_leaves_out(tmp_path, monkeypatch):
    asked = "\n\nHuman: Hi {}\n\nAssistant: "
    rows = [{"chosen": asked.format(i) + "a", "rejected": asked.format(i) + "b"} for i in range(3)]
    rows.append({"chosen": asked.format(4) + "a", "rejected": asked.format(5) + "b"})
    content = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / corpora.HH_COPY).write_bytes(content)
    monkeypatch.setenv("LLMGUIDE_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match="1 of 4 pairs do not differ in the last answer alone"):
        found = hh_pairs()
    assert [pair.units for pair in found] == [("Hi 0",), ("Hi 1",), ("Hi 2",)]


def test_hh_of_the_hub(monkeypatch):
    class Library:
        @staticmethod
        def load_dataset(name, config, *, split, **part):
            assert (name, config, split) == (corpora.HH_HUB, None, "train")
            assert part == {"data_dir": "harmless-base"}
            return [{"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"}]

    monkeypatch.delenv("LLMGUIDE_DATA", raising=False)
    monkeypatch.setattr("llmguide.extras.import_module", lambda name: Library)
    assert hh_pairs()[0].chosen == "a"

    class Offline:
        @staticmethod
        def load_dataset(*_, **__):
            raise OSError("no network")

    monkeypatch.setattr("llmguide.extras.import_module", lambda name: Offline)
    with pytest.raises(ConnectionError, match="LLMGUIDE_DATA"):
        hh_pairs()


def test_conversations_that_begin_alike_stay_together():
    pairs = [TextPair([], str(i), "x", (f"begun {i % 40}",)) for i in range(400)]
    seen, unseen = divide(pairs)
    assert {pair.units for pair in seen}.isdisjoint({pair.units for pair in unseen})
    assert len(seen) + len(unseen) == 400
    assert unseen


CACHED = cache_folder() / "packages" / f"vader-ratings-{PACKAGES['vader-ratings'].sha256[:16]}"
HH = os.path.join(os.environ.get("LLMGUIDE_DATA", ""), corpora.HH_COPY)  # noqa: PTH118  # may be no path


@pytest.mark.skipif(not CACHED.is_dir(), reason="the ratings are not fetched: llmguide reward --data vader")
def test_the_published_ratings():
    texts = rated_texts()
    counts = [sum(text.id.startswith(source) for text in texts) for source in ("movies", "tweets")]
    # 10,605 and 4,200 less 195 as published, less texts that occur twice
    assert counts == [10_603, 4_004]
    assert min(len(text.ratings) for text in texts) == 15
    held_out = sentiment_pairs("validation", 1000, texts=texts)
    assert 0.88 < sum(pair.seconded for pair in held_out) / 1000 < 0.95


@pytest.mark.skipif(not os.path.isfile(HH), reason="LLMGUIDE_DATA has no copy of HH-RLHF")  # noqa: PTH113
def test_the_published_comparisons():
    pairs = hh_pairs()
    assert len(pairs) == 1156
    assert all(pair.prompt[0]["role"] == "user" for pair in pairs)
