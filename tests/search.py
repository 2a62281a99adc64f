"""What the search of the built site answers, asked without a browser, and what readers ask."""

import json
import tomllib
from pathlib import Path
from typing import Any

from site_tools import DOCS

from tests.browser.host import SITE
from tests.runtime.node import node

ANSWERS = DOCS / "js" / "search" / "answers.mjs"
INDEX = SITE / "search" / "search_index.json"
ASKED = tomllib.loads((Path(__file__).parent / "docs" / "search_queries.toml").read_text(encoding="utf-8"))
# With hyphens, digits, slashes, Greek, quotes, brackets, single letters: each is typed letter by letter.
TYPED = [
    "top-p", "GPT-2", "fine-tune", "pre-training", "few-shot", "k/v cache", "n/a", "π_θ", "β in DPO", "θ",
    "Σ", '"attention"', "'rope", "“quoted”", "don't know", "a", "d", "K", "7B", "4-bit", "o(n^2)", "2048",
    "10,000", "GPT-4o-mini", "llama-3.1-8b", "C++", "pass@k", "#python", "torch.nn.Linear", "apply_rope(",
    "why? how!", "-x", "- - -", "~^*+:", "a-", "-", "title:attention", "<b>bold</b>", "&amp;", "日本語",
    "naïve", "🤖 emoji",
]  # fmt: skip
PAGE = ("Attention lets each token look at the others; top-p, GPT-2 and fine-tuning come later. " * 6)[:500]


def places() -> set[str]:
    """The address of every section that can be found, below the site's."""
    docs = json.loads(json.loads(INDEX.read_text(encoding="utf-8"))["docs"])
    return {
        docs["pages"][page][0] + (f"#{anchor}" if anchor else "") for page, anchor, *_ in docs["sections"]
    }


def ask(body: str, **given: Any) -> Any:
    """What a function body returns that sees the ``answers`` of the built site."""
    start = 'const answers = new m.Answers(JSON.parse(readFileSync(given.index, "utf8")).docs);'
    return node(ANSWERS, start + body, index=str(INDEX), **given)


def first(queries: list[str]) -> dict[str, str | None]:
    """For each query the address that Enter opens, below the site's; None if nothing is found."""
    found = ask(
        """return given.queries.map((query) => {
          const [best] = answers.answer(query).items;
          return best ? best.reduce((a, b) => (b.score > a.score ? b : a)).location : null;
        });""",
        queries=queries,
    )
    return dict(zip(queries, found, strict=True))
