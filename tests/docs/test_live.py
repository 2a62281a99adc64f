"""`mkdocs serve` shows each change and each mistake, and builds only the pages that are asked for."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from site_tools import ROOT, RUNTIME

CONFIG = """\
site_name: test
site_url: https://example.org/guide/
site_dir: built
nav: [index.md, other.md, part.md, glossary.md, Short title: lab.ipynb]
theme: {name: material, font: false}
hooks: [site_tools/hooks.py]
plugins:
  - search
  - offline: {enabled: false}
  - autorefs: {link_titles: external}
  - mkdocstrings: {handlers: {python: {paths: [src]}}}
  - mkdocs-jupyter: {include: [lab.ipynb], ignore: ["*.md"], ignore_h1_titles: true, cache: false}
markdown_extensions:
  - attr_list
  - pymdownx.superfences
  - toc: {permalink: true}
  - site_tools.markdown.source
  - site_tools.markdown.computed
  - site_tools.markdown.terms
"""
FRONT = "---\ndescription: d\n---\n"
CODE = {"cell_type": "code", "metadata": {}, "execution_count": None, "source": "print(1 < 2)  # {{ $"}
PRINTED = {"output_type": "stream", "name": "stdout", "text": "True & so on\n"}
LAB = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {"description": "d"},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": "# Lab\n\n[Part](part.md). A token."},
        CODE | {"outputs": [PRINTED]},
        {"cell_type": "markdown", "metadata": {}, "source": "## By `half`\n\nA token."},
    ],
}
FILES = {
    "mkdocs.yml": CONFIG,
    "site_tools/generate.py": """\
from site_tools import DOCS, write
from llmguide.pages.facts import all_facts

def main():
    texts = [fact.text for fact in all_facts().values()]
    write(DOCS / "glossary.md", f"---\\ndescription: d\\n---\\n# List\\n\\n{texts}\\n")
""",
    "overrides/empty": "",
    "runtime/cells.js": "1\n",
    "src/example/__init__.py": "",
    "src/example/part.py": 'def half(x):\n    """Divide by 2."""\n    return x / 2\n',
    "docs/index.md": f"{FRONT}# First\n\n[[layers-gpt]] layers. A token.\n\n@source example.part.half\n",
    "docs/other.md": (f"{FRONT}# Other\n\nA title\n\n[First](index.md)\n"),
    "docs/lab.ipynb": json.dumps(LAB),
    "docs/part.md": f"{FRONT}# Part\n\n::: example.part\n",
    "site/search/worker-1.js": "",
    "site/search/search_index.json": "of the last build",
    "src/llmguide/pages/facts.toml": (
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

from mkdocs.commands.build import build
from mkdocs.config import load_config

class Server:
    mount_path = "/guide/"

    def set_app(self, application):
        self.application = application

    def serve_request(self, environ, start_response):
        return Path("built", environ["PATH_INFO"].removeprefix("/guide/"), "index.html").read_text()

def shown(page):
    return server.application({"PATH_INFO": f"/guide/{page}"}, None)

config = load_config()
config.plugins.on_startup(command="serve", dirty=False)
server = Server()
build(config)
config.plugins.on_serve(server, config=config, builder=lambda: build(load_config()))
"""
SERVE = f"""{START}
assert not list(Path("built").rglob("index.html"))
Path("lab.html").write_text(shown("lab/"))
assert 'href="glossary/#term-token"' in shown(""), shown("")
assert '"search": "search/worker-1.js"' in shown(""), shown("")
assert Path("built/search/search_index.json").read_text() == "of the last build"
package = sys.modules["llmguide"]
server.builder()
assert sys.modules["llmguide"] is package
for file, old, new, pages in eval(sys.argv[1]):
    for page in ("", "lab/", "glossary/", "other/", "part/"):
        shown(page)
    package = sys.modules["llmguide"]
    path = Path(file)
    path.write_text(path.read_text().replace(old, new))
    server.builder()
    assert (sys.modules["llmguide"] is package) != file.startswith("src/"), file
    for built in Path("built").rglob("index.html"):
        built.unlink()
    for page in pages:
        assert new in shown(page), (file, page)
    built = sorted(path.relative_to("built").as_posix() for path in Path("built").rglob("index.html"))
    assert built == [page + "index.html" for page in pages], built
"""


def make_project(folder: Path) -> Path:
    for name in ("site_tools", "src/llmguide"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with the subset of torch, which is imported in a tenth of the time."""
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project / 'src'}:{RUNTIME}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that a server has shown, after each of some changes."""
    project = make_project(tmp_path_factory.mktemp("served"))
    changes = [
        ("docs/index.md", "layers.", "blocks.", [""]),
        ("src/llmguide/pages/facts.toml", "12", "769", ["glossary/", ""]),
        ("docs/_data/glossary.toml", "piece", "subword", [""]),
        ("docs/other.md", "A title", "One title", ["other/"]),
        ("docs/lab.ipynb", "Lab", "Work", ["lab/"]),
        ("src/example/part.py", "2", "7031", ["", "part/"]),
        ("runtime/cells.js", "1", "2", []),
        ("mkdocs.yml", "test", "trial", ["glossary/", "", "lab/", "other/", "part/"]),
    ]
    done = python(project, "-c", SERVE, repr(changes))
    assert done.returncode == 0, done.stderr
    return project


def test_each_change_is_shown_and_no_page_is_built_unasked(served: Path) -> None:
    assert (served / "built" / "runtime" / "cells.js").read_text(encoding="utf-8") == "2\n"  # the last change


def test_a_lab_is_rendered_as_the_other_pages(served: Path) -> None:
    page = (served / "lab.html").read_text(encoding="utf-8")
    assert "<title>Short title - test" in page
    article = page.partition("<article")[2].partition("</article>")[0]
    assert '<a href="../part/">Part</a>' in article
    assert article.count("glossary/#term-token") == 1  # at its first mention on the page
    assert '<h2 id="by-half">By <code>half</code>' in article
    assert page.count('href="#by-half"') == 3  # twice in the contents
    assert ">By half<" in re.sub(r"\s+(?=[<])|(?<=[>])\s+", "", page)
    assert "{{ $" in article
    assert "True &amp; so on" in article
    assert not re.search("<style|<script|https?:", article)


MISTAKES = f"""{START}
for page, mistake, text, message, right in eval(sys.argv[1]):
    url = "" if page == "index" else f"{{page}}/"
    source = Path("docs", f"{{page}}.md")
    assert message in shown(url), shown(url)
    source.write_text(source.read_text().replace(mistake, text))
    server.builder()
    assert right in shown(url), page
    assert message not in shown(url), page
facts = Path("src/llmguide/pages/facts.toml")
right = facts.read_text()
for text, expected in ((right.replace("value", "worth"), "unknown fields worth"), (right, "12")):
    facts.write_text(text)
    server.builder()
    assert expected in shown(""), text
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
