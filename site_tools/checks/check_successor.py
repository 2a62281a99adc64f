"""Check that Zensical built what MkDocs builds; `make successor` runs this after its build.

MkDocs 1 and the theme are no longer developed. Pages depend on Markdown extensions only, which Zensical runs
too; this looks into its output for one of each thing that they make. Zensical itself passes over much that it
does not know.
"""

import sys

from site_tools import ROOT

# What has to stand in which page, and what it proves.
FACTS = [
    ("learn/attention/index.html", 'class="katex-mathml"', "formulas are drawn"),
    ("learn/attention/index.html", "def</span>", "code is included from the package"),
    ("learn/attention/index.html", 'class="table-scroll"', "tables have their frame"),
    ("learn/attention/index.html", 'class="citation"', "citations are links"),
    ("learn/attention/index.html", "How this is computed", "the code of tables is folded"),
    ("index.html", "0.6698", "stored outputs are shown"),
    ("index.html", 'class="computed"', "computed values are marked"),
    ("reference/nn/attention/index.html", 'id="llmguide.nn.attention.attention"', "the reference is written"),
    ("runtime/cells.js", "import", "the scripts of cells are copied"),
    ("bibliography/index.html", 'id="vaswani2017"', "the bibliography has its anchors"),
]


def main() -> int:
    """Print each fact and whether it holds; 1 if one does not."""
    failed = 0
    for page, text, meaning in FACTS:
        path = ROOT / ".cache" / "successor-site" / page
        holds = path.is_file() and text in path.read_text(encoding="utf-8")
        failed += not holds
        print(f"{'yes' if holds else 'NO '}  {meaning} ({page})")
    print(f"{len(FACTS) - failed} of {len(FACTS)} facts hold")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
