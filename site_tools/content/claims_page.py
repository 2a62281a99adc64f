"""The page of common claims that do not hold up: writes docs/claims.md from docs/_data/claims.toml.

Numbers that the package can compute are written as ``{{ = expression }}`` in the list and computed here.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from llmguide.config.model_config import ModelConfig
from llmguide.config.presets import PRESETS
from llmguide.costs import flops, gpus, linear_layers, memory, scaling_laws
from llmguide.pages.entries import entry_in
from llmguide.tokenization.openai import load_encoding
from site_tools import DOCS, GENERATED, generated_head
from site_tools.built.plain_markdown import sections
from site_tools.content.bibliography import cited, work
from site_tools.content.claims import CONSEQUENCES, KINDS, LINE, NAME, PATH, Claim, all_claims, claim
from site_tools.fences import COMPUTED, outside_code, prose_lines, split_computed
from site_tools.links import headings

PAGE = DOCS / "claims.md"


# ---- values ----------------------------------------------------------------------------------------


def gpt(n_layers: int, d_model: int, *, vocab: int = 50_257, context: int = 1024) -> ModelConfig:
    """A model of GPT-2's make in another size."""
    return ModelConfig(
        vocab_size=vocab, context_length=context, n_layers=n_layers, d_model=d_model, n_heads=d_model // 64
    )


def sci(value: float, digits: int = 1) -> str:
    """A large number as people write it: with a power of ten."""
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}\u00a0\u00d7\u00a010{raised}"


def tokens(text: str, encoding: str = "r50k_base") -> str:
    """The tokens of a text as words with bars between, spaces visible."""
    vocabulary = load_encoding(encoding)
    return "|".join(vocabulary.decode([token]) for token in vocabulary.encode(text)).replace(" ", "␣")


@cache
def names() -> dict[str, Any]:
    """What an expression may use: the presets, and the package's functions on sizes, costs and tokens."""
    modules = vars(flops) | vars(gpus) | vars(scaling_laws) | vars(memory) | vars(linear_layers)
    found = {name: value for name, value in modules.items() if not name.startswith("_")}
    return found | {
        "math": math,
        "unicodedata": unicodedata,
        "preset": PRESETS.__getitem__,
        "gpt": gpt,
        "sci": sci,
        "tokens": tokens,
        "ids": lambda text, encoding="r50k_base": load_encoding(encoding).encode(text),
        "vocab_size": lambda encoding: load_encoding(encoding).n_vocab,
    }


def compute(text: str) -> str:
    """A text with every value computed, and still in braces, so that the page shows the expression.

    Raises:
        ValueError: An expression raises an error.
    """

    def value(expression: str) -> str:
        try:
            return f"{{{{ {eval(expression, dict(names()))} = {expression} }}}}"
        except Exception as error:
            raise ValueError(f"{{{{ = {expression} }}}}: {type(error).__name__}: {error}") from error

    return outside_code(COMPUTED, lambda match: value(split_computed(match["value"])[1]))(text)


# ---- the page --------------------------------------------------------------------------------------


def places(pages: Iterable[str]) -> dict[str, tuple[str, str]]:
    """For each claim, the address of the section that discusses it, and that section's heading.

    Args:
        pages: The pages below docs/ in reading order, which becomes the order of the claims.

    Raises:
        ValueError: A claim is discussed in two sections, or in none.
    """
    found: dict[str, tuple[str, str]] = {}
    for page in pages:
        text = (DOCS / page).read_text(encoding="utf-8")
        below = iter(headings(text).items())
        anchor = title = ""
        for line in prose_lines(text):
            if re.match("#{1,6} ", line):
                anchor, title = next(below)
            for key in match["keys"].split() if (match := LINE.match(line)) else []:
                if claim(key).key in found:
                    raise ValueError(f"@claims {key} is in {page} and in {found[key][0]}; keep one of them")
                found[key] = f"{page}#{anchor}", title
    if missing := [key for key in all_claims() if key not in found]:
        raise ValueError(f"no page has `@claims {missing[0]}` in the section that discusses it")
    return found


def render() -> str:
    """The page of claims."""
    pages = {page: None for group in sections().values() for page in group}
    found = places(page for page in pages if not page.startswith((*GENERATED, "reference/")))
    counts = Counter(claim(key).kind for key in found)
    rows = [f"| **{kind.capitalize()}** | {counts[kind]} | {meaning} |" for kind, meaning in KINDS.items()]
    parts = [
        generated_head(
            "Claims you will meet, checked",
            "Common claims about language models that do not hold up, and what is true, with its source.",
            "site_tools/content/claims_page.py from docs/_data/claims.toml",
            edit="docs/_data/claims.toml",
        ),
        f"This page lists {len(found)} claims that introductions to language models often make and that do "
        "not hold up. Below each, it says what is true, with the source. They are ranked by what it costs to "
        "believe them. First come claims that lead to a wrong choice of hardware, data, license, method or "
        "setting. Claims that give a wrong picture of how models work are second, and wrong numbers, names "
        "and dates are last. Within a rank they follow the order of the guide. Numbers with a dotted line "
        "are computed when this page is built; the rest was checked in November 2026.\n",
        "| Kind | Claims | Means |\n| :-- | --: | :-- |",
        *rows,
        "\nTable: Kinds of claims.\n",
    ]
    for consequence, title in CONSEQUENCES.items():
        parts.append(f"## {title}\n")
        parts += [
            section(claim(key), *place)
            for key, place in found.items()
            if claim(key).consequence == consequence
        ]
    return "\n".join(parts)


def section(entry: Claim, address: str, title: str) -> str:
    """A claim, what is true, and a link to the section that discusses it.

    Raises:
        ValueError: The truth names an unknown work or fact, or a value in it cannot be computed.
    """
    try:
        for key in cited(entry.truth):
            work(key)
        truth = compute(entry.truth.strip())
    except ValueError as error:
        where = entry_in(NAME, entry.key, PATH.read_text(encoding="utf-8"))
        raise ValueError(f"{where}: {error}") from error
    return (
        f"### “{entry.claim}” {{ #{entry.anchor} }}\n\n"
        f"**{entry.kind.capitalize()}.** {truth} See [{title}]({address}).\n"
    )
