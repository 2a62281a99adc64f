"""The report of a pipeline: documents and bytes that each stage saw, kept and dropped, and why."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

READ = "read"
_EXCERPT = 200  # characters of a dropped document


@dataclass
class StageStats:
    """Documents and bytes seen, kept and dropped by one stage."""

    name: str
    seen: int = 0
    bytes_seen: int = 0
    bytes_kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Number of dropped documents by reason."""
    examples: list[tuple[str, str, str, str]] = field(default_factory=list)
    """A few of the dropped documents: a hash, the reason, the id, and the beginning of the text."""

    @property
    def kept(self) -> int:
        """Number of documents that went on to the next stage."""
        return self.seen - sum(self.dropped.values())

    def drop(self, reason: str, where: str, text: str, *, seed: int, n_examples: int) -> None:
        """Count a dropped document, and keep it as an example if it is sampled."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        draw = hashlib.blake2b(f"{seed}\0{where}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        self.examples = sorted([*self.examples, (draw, reason, where, text[:_EXCERPT])])[:n_examples]


@dataclass
class Report:
    """The documents and bytes that each stage saw, kept and dropped; it prints as a table.

    >>> from llmguide.data.cleaning.pipeline import Drop, process
    >>> from llmguide.data.documents import Document
    >>> report = Report.of(["short"])
    >>> documents = [Document("Hm.", "1", ""), Document("Long enough.", "2", "")]
    >>> stages = {"short": Drop(lambda text: "under 5 characters" if len(text) < 5 else None)}
    >>> kept = list(process(documents, stages, report))
    >>> print(report)
    stage     seen    kept  dropped  MB kept  reasons
    read         2       2        0     0.00
    short        2       1        1     0.00  under 5 characters 1
    """

    tallies: list[StageStats]
    seed: int = 0
    n_examples: int = 3

    @classmethod
    def of(cls, stages: Iterable[str], *, seed: int = 0, n_examples: int = 3) -> "Report":
        """Create an empty report for reading and for the named stages."""
        return cls([StageStats(name) for name in (READ, *stages)], seed, n_examples)

    def rows(self) -> list[dict[str, str | int | float]]:
        """Return the rows of the table: one for each stage, its reasons in order of frequency."""
        return [
            {
                "stage": tally.name,
                "seen": tally.seen,
                "kept": tally.kept,
                "dropped": sum(tally.dropped.values()),
                "MB kept": tally.bytes_kept / 1e6,
                "reasons": ", ".join(
                    f"{reason} {n:,}"
                    for reason, n in sorted(tally.dropped.items(), key=lambda x: (-x[1], x[0]))
                ),
            }
            for tally in self.tallies
        ]

    def __str__(self) -> str:
        width = max(len("stage"), *(len(tally.name) for tally in self.tallies))
        lines = [f"{'stage':<{width}} {'seen':>7} {'kept':>7} {'dropped':>8} {'MB kept':>8}  reasons"]
        lines += [
            f"{row['stage']:<{width}} {row['seen']:>7,} {row['kept']:>7,} {row['dropped']:>8,} "
            f"{row['MB kept']:>8,.2f}  {row['reasons']}"
            for row in self.rows()
        ]
        return "\n".join(line.rstrip() for line in lines)
