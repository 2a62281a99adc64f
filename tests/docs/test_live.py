"""`mkdocs serve` shows each change, and builds only the pages that show it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from site_tools import ROOT

CONFIG = """\
site_name: test
site_url: https://example.org/
site_dir: built
nav: [index.md, other.md, part.md, list.md, lab.ipynb]
theme: {name: material, font: false}
hooks: [site_tools/hooks.py]
plugins:
  - search
  - offline: {enabled: false}
  - autorefs: {link_titles: external}
  - mkdocstrings: {handlers: {python: {paths: [src]}}}
  - mkdocs-jupyter: {include: [lab.ipynb], ignore: ["*.md"], cache: false}
markdown_extensions:
  - attr_list
  - site_tools.markdown.source
  - site_tools.markdown.computed
  - site_tools.markdown.terms
"""
FRONT = "---\ndescription: d\n---\n"
FILES = {
    "mkdocs.yml": CONFIG,
    "site_tools/generate.py": """\
from site_tools import DOCS, write
from site_tools.facts import all_facts

def main():
    texts = [fact.text for fact in all_facts().values()]
    write(DOCS / "list.md", f"---\\ndescription: d\\n---\\n# List\\n\\n{texts}\\n")
""",
    "overrides/empty": "",
    "runtime/cells.js": "1\n",
    "src/example/__init__.py": "",
    "src/example/part.py": 'def half(x):\n    """Divide by 2."""\n    return x / 2\n',
    "docs/index.md": f"{FRONT}# First\n\n[[layers-gpt]] layers. A token.\n\n@source example.part.half\n",
    "docs/other.md": (
        f"{FRONT}# Other\n\n## A paper {{ #a2017 }}\n\n## A term {{ #term-token }}\n\n[First](index.md)\n"
    ),
    "docs/lab.ipynb": (
        '{"metadata": {"description": "d"}, '
        '"cells": [{"cell_type": "markdown", "source": "# Lab, [part](part.md)"}]}'
    ),
    "docs/part.md": f"{FRONT}# Part\n\n::: example.part\n",
    "docs/_data/facts.toml": (
        '[layers-gpt]\nvalue = 12\nsource = "a2017"\nwhere = "table 1"\nchecked = 2026-01-01\n'
    ),
    "docs/_data/glossary.toml": '[token]\ndefinition = "A piece."\nsee = "index.md"\n',
    "docs/_data/references.bib": (
        "@misc{a2017, title={T}, author={A, B}, year={2017}, url={https://example.org}, annote={A.}}\n"
    ),
}
# What `mkdocs serve` does without its clock: a first build, and one after each change of a file.
START = """\
import sys
from pathlib import Path
from types import SimpleNamespace

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.plugins import BasePlugin

class Editor(BasePlugin):
    text = "\\nWritten during the build.\\n"

    def on_env(self, env, config, files):
        with open("docs/other.md", "a") as page:
            page.write(self.text)
        self.text = ""

config = load_config()
config.plugins["editor"] = Editor()
config.plugins.on_startup(command="serve", dirty=False)
server = SimpleNamespace(builder=lambda: build(load_config()))
build(config)
config.plugins.on_serve(server, config=config, builder=server.builder)
"""
SERVE = f"""{START}
package = sys.modules["llmguide"]
server.builder()
assert sys.modules["llmguide"] is package
assert "Written during the build" in Path("built/other/index.html").read_text()
for file, old, new, _ in eval(sys.argv[1]):
    site = list(Path("built").rglob("index.html"))
    for built in site:
        built.write_text("as before")
    package = sys.modules["llmguide"]
    path = Path(file)
    path.write_text(path.read_text().replace(old, new))
    server.builder()
    again = [path for path in site if path.read_text() != "as before"]
    assert all(new in path.read_text() for path in again), again
    print(sorted(path.relative_to("built").as_posix() for path in again))
    assert (sys.modules["llmguide"] is package) != file.startswith("src/"), file
assert "769" in Path("built/list/index.html").read_text()
assert Path("built/runtime/cells.js").read_text() == "2\\n"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(
        ROOT / "site_tools", tmp_path / "site_tools", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{project}:{ROOT / 'src'}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_each_change_is_shown_and_no_other_page_is_built(project: Path) -> None:
    changes = [
        ("docs/index.md", "layers.", "blocks.", ["index.html"]),
        ("docs/_data/facts.toml", "12", "769", ["index.html", "list/index.html"]),
        ("docs/_data/glossary.toml", "piece", "subword", ["index.html"]),
        ("docs/other.md", "A paper", "One paper", ["other/index.html"]),
        ("docs/lab.ipynb", "Lab", "Work", ["lab/index.html"]),
        ("src/example/part.py", "2", "7031", ["index.html", "part/index.html"]),
        ("runtime/cells.js", "1", "2", []),
        (
            "mkdocs.yml",
            "test",
            "trial",
            [f"{page}index.html" for page in ("", "lab/", "list/", "other/", "part/")],
        ),
    ]
    done = python(project, "-c", SERVE, repr(changes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(pages) for *_, pages in changes]


MISTAKES = f"""{START}
for page, mistake, text, message, shown in eval(sys.argv[1]):
    built = Path("built", page.removeprefix("index"), "index.html")
    source = Path("docs", f"{{page}}.md")
    assert message in built.read_text(), built.read_text()
    source.write_text(source.read_text().replace(mistake, text))
    server.builder()
    assert shown in built.read_text(), page
    assert message not in built.read_text(), page
facts = Path("docs/_data/facts.toml")
right = facts.read_text()
for text, shown in ((right.replace("value", "valeu"), "[layers-gpt] lacks value"), (right, "12")):
    facts.write_text(text)
    server.builder()
    assert shown in Path("built/index.html").read_text(), text
"""


def test_the_server_shows_a_mistake_until_it_is_mended(project: Path) -> None:
    mistakes = [
        ("index", "layers-gtp", "layers-gpt", "docs/index.md: unknown fact [[layers-gtp]]", "12"),
        ("part", "example.prat", "example.part", "docs/part.md: ", "Divide by"),
        ("other", "(gone.md)", "(index.md)", 'href="gone.md"', 'href=".."'),
    ]
    for page, mistake, text, *_ in mistakes:
        path = project / "docs" / f"{page}.md"
        path.write_text(path.read_text(encoding="utf-8").replace(text, mistake), encoding="utf-8")
    done = python(project, "-c", MISTAKES, repr(mistakes))
    assert done.returncode == 0, done.stderr


def test_a_mistake_ends_the_build_with_a_message_alone(project: Path) -> None:
    (project / "docs" / "index.md").write_text(f"{FRONT}# First\n\n[[layers-gtp]]\n", encoding="utf-8")
    done = python(project, "-m", "mkdocs", "build")
    assert done.returncode == 1
    assert "index.md" in done.stderr
    assert "unknown fact [[layers-gtp]]" in done.stderr
    assert "Traceback" not in done.stderr
