"""Write `llmguide.tokenization.unicode_classes` from what tiktoken's regex engine matches.

Run ``python -m site_tools.unicode_classes`` after a tiktoken release that moves to a newer Unicode version;
the test of the table fails until then.
"""

import textwrap
from pathlib import Path

import tiktoken

TARGET = Path(__file__).parent.parent / "src" / "llmguide" / "tokenization" / "unicode_classes.py"
CLASSES = {r"\s": "s", **{rf"\p{{{name}}}": name for name in ("Lu", "Ll", "Lt", "Lm", "Lo", "M", "N")}}
BEGIN, END = "_RANGES = {\n", "}\n"


def matched_code_points(pattern: str) -> list[int]:
    """All code points that match a one-character pattern in tiktoken's engine, ascending.

    tiktoken drops text that its pattern does not match, so a vocabulary of single bytes gives the matches
    back.
    """
    probe = tiktoken.Encoding(
        "probe", pat_str=pattern, mergeable_ranks={bytes([b]): b for b in range(256)}, special_tokens={}
    )
    every = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    return [ord(c) for c in bytes(probe.encode_ordinary(every)).decode()]


def as_ranges(code_points: list[int]) -> list[tuple[int, int]]:
    """Consecutive code points joined to inclusive ranges.

    >>> as_ranges([65, 66, 67, 97])
    [(65, 67), (97, 97)]
    """
    ranges: list[tuple[int, int]] = []
    for c in code_points:
        if ranges and ranges[-1][1] == c - 1:
            ranges[-1] = (ranges[-1][0], c)
        else:
            ranges.append((c, c))
    return ranges


def table() -> str:
    """The body of the table in source form."""
    entries = []
    for pattern, name in CLASSES.items():
        words = [
            f"{first:x}" if first == last else f"{first:x}-{last:x}"
            for first, last in as_ranges(matched_code_points(pattern))
        ]
        lines = textwrap.wrap(" ".join(words), 102, break_on_hyphens=False, break_long_words=False)
        entries.append(
            "\n".join([f'    "{name}": """', *(f"        {line}" for line in lines), '    """,\n'])
        )
    return "".join(entries)


if __name__ == "__main__":
    before, _, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    TARGET.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
