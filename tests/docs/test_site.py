"""The checker of the built site, which make site runs, sees what is broken; settings keep their promises."""

import json
import re
from pathlib import Path

import pytest
import yaml
from markdown import markdown
from site_tools import DOCS, GENERATED, ROOT
from site_tools.built import policy
from site_tools.built.minify import MOST_ENTRIES, slim
from site_tools.cells import labs
from site_tools.checks.check_site import problems
from site_tools.content import reference
from site_tools.lock import entries
from tests.search import places

CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
HEAD = policy.with_policy('<meta charset="utf-8">', policy.policy([]))
PAGE = f'{HEAD}<h1 id="top">T</h1>'


def write_site(folder: Path, body: str, **others: str) -> Path:
    (folder / "index.html").write_text(PAGE + body, encoding="utf-8")
    for name, text in others.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def pencils(site: Path) -> dict[str, str]:
    """The file that the pencil of each page opens, in the repository."""
    pattern = re.compile(r'<a href="[^"]*/edit/main/([^"]*)"[^>]* rel="edit"')
    texts = {
        path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")
    }
    return {page: found[1] for page, text in texts.items() if (found := pattern.search(text))}


def test_every_pencil_opens_a_file_that_a_person_writes() -> None:
    found = pencils(ROOT / "site")
    generated = (*(f"docs/{name}" for name in GENERATED), "docs/reference/")
    dead = [page for page, file in found.items() if file.startswith(generated) or not (ROOT / file).is_file()]
    assert not dead
    assert found["reference/nn/attention/index.html"] == "src/llmguide/nn/attention.py"
    assert found["glossary/index.html"] == "docs/_data/glossary.toml"
    assert "quiz/index.html" not in found  # it is made from many files


def test_nothing_that_only_development_needs_is_published() -> None:
    published = {path.name for path in (ROOT / "site").rglob("*")}
    assert not {name for name in published if name.endswith(".map")}
    assert not published & {"_data", "lunr", "facts.toml"}


def test_a_sound_page_passes(tmp_path: Path) -> None:
    body = (
        '<a href="#top">up</a> <a href="./">here</a> <a href="other.html#x%20y">other</a>'
        '<a href="https://example.org/">abroad</a> <link rel="canonical" href="https://example.org/">'
        '<a href="/llmguide/other.html">absolute</a> <link rel="stylesheet" href="a.css">'
    )
    other = f'{HEAD}<h1 id="x y">O</h1>'
    write_site(tmp_path, body, other_html=other, a_css="p { background: url(data:image/png;base64,AA) }")
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="missing/">x</a>', "no such file: missing/"),
        ('<a href="#nowhere">x</a>', "no such anchor: #nowhere"),
        ('<a href="/llmguide/absent/">x</a>', "no such file: /llmguide/absent/"),
        ('<script src="missing.js"></script>', "no such file: missing.js"),
        ('<script src="https://cdn.example/x.js"></script>', "another host: https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "another host: //cdn.example/x.js"),
        ('<link rel="preconnect" href="https://fonts.example">', "another host: https://fonts.example"),
        ('<img alt="a" src="https://cdn.example/x.png">', "another host: https://cdn.example/x.png"),
        ('<form action="https://example.org/"></form>', "another host: https://example.org/"),
        ('<p style="background: url(https://cdn.example/x.png)">', "another host: https://cdn.example/x.png"),
        ('<link rel="stylesheet" href="a.css">', "another host: https://fonts.example/f.woff2"),
        ('<img src="a.css">', "image without alt"),
        ('<svg role="img"></svg>', "svg with role=img and no aria-label"),
        ('<p id="top">x</p>', "id 'top' stands 2 times"),
        ("<h1>again</h1>", "2 main headings"),
        ("<script>added()</script>", "the policy blocks a script: added()"),
        ('<p onclick="added()">', "the policy blocks onclick of <p>"),
        ('<a href="javascript:added()">x</a>', "the policy blocks javascript:added()"),
    ],
)
def test_what_is_broken_is_found(tmp_path: Path, body: str, problem: str) -> None:
    css = '@import "b.css"; @font-face { src: url("https://fonts.example/f.woff2") }'
    write_site(tmp_path, body, a_css=css, b_css="")
    assert any(problem in found for found in problems(tmp_path))


def test_a_page_without_a_policy_is_found(tmp_path: Path) -> None:
    write_site(tmp_path, "")
    (tmp_path / "index.html").write_text('<h1 id="top">T</h1>', encoding="utf-8")
    assert problems(tmp_path) == ["index.html: no content-security policy"]


def test_only_a_copy_that_is_read_from_disk_may_run_every_inline_script(tmp_path: Path) -> None:
    write_site(tmp_path, "")
    policy.main(tmp_path, offline=True)
    assert "index.html: the policy allows every inline script" in problems(tmp_path)
    (tmp_path / "search").mkdir()
    (tmp_path / "search/search_index.js").touch()
    assert not problems(tmp_path)


def test_all_pages_have_one_policy_with_the_hashes_of_all_inline_scripts(tmp_path: Path) -> None:
    scripts = ["first()", "second('\n')", "data"]
    for name, tag in (("a", "<script>"), ("b", '<script type="module">'), ("c", '<script type="text/x">')):
        page = f'<meta charset="utf-8">{tag}{scripts["abc".index(name)]}</script><script src="d.js"></script>'
        (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
    for _ in range(2):
        policy.main(tmp_path)
        pages = [path.read_text(encoding="utf-8") for path in sorted(tmp_path.glob("*.html"))]
        (meta,) = {metas for page in pages for metas in re.findall(r"<meta http-equiv[^>]*>", page)}
        assert [policy.source(script) in meta for script in scripts] == [True, True, False]
        assert meta.count("sha256-") == 2
        assert not [problem for page in pages for problem in policy.problems(page)]


def test_the_lock_file_pins_content_and_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert "resolved" not in entry, name
        assert entry["integrity"].startswith("sha512-"), name


def test_constraints_are_bare_versions() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line), line


def test_the_lock_pins_the_same_versions_by_hash_and_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    locked = set()
    for entry in entries(text):
        requirement, *hashes = entry.replace(" \\\n", "\n").split("\n    ")
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each.strip()) for each in hashes), requirement
        name, version = requirement.split(" ;")[0].split("==")
        locked.add((_normal(name), version.strip()))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constrained = {(_normal(name), version) for name, version in (line.split("==") for line in lines)}
    assert {name for name, _ in constrained - locked} == {"torch"}  # site_tools/lock.py says why
    assert not {name for name, _ in constrained & locked} & {name for name, _ in locked - constrained}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_little_hangs_on_the_generator() -> None:
    programs = {path: path.read_text(encoding="utf-8") for path in (ROOT / "site_tools").rglob("*.py")}
    users = {path.name for path, text in programs.items() if re.search("^(from|import) mkdocs", text, re.M)}
    assert users == {"hooks.py", "live.py", "render.py"}
    assert "\nrepo_url:" not in CONFIG  # the theme would ask that host for its stars
    plugins = re.search(r"^plugins:\n((?:  .*\n)+)", CONFIG, re.MULTILINE)
    assert plugins is not None
    assert re.findall(r"^  - ([\w-]+)", plugins[1], re.MULTILINE) == [
        "search",
        "offline",
        "autorefs",
        "mkdocstrings",
        "mkdocs-jupyter",
    ]


def test_every_page_has_a_place_in_the_navigation() -> None:
    named = set(re.findall(r"([\w/-]+\.(?:md|ipynb))$", CONFIG, re.MULTILINE))
    written = {path.relative_to(DOCS).as_posix() for path in [*DOCS.rglob("*.md"), *labs.paths()]}
    assert {path for path in written if not path.startswith("runtime/")} <= named  # which a test writes


def test_every_public_module_has_a_reference_page_and_a_place_in_the_navigation() -> None:
    for name in reference.modules():
        page = reference.page_of(name)
        assert f"::: llmguide.{name}" in (DOCS / page).read_text(encoding="utf-8")
        assert re.search(rf"[-:] {page}$", CONFIG, re.M), f"run python -m site_tools.generate: {page} is new"


def test_the_page_template_has_valid_front_matter() -> None:
    text = (ROOT / "site_tools" / "page_template.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1])["description"]


def test_a_doctest_becomes_a_code_block() -> None:
    text = "One.\n\n>>> f([[1]])\n[[2]]\n\nTwo.\n\n```text\n>>> left alone\n```\n"
    html = markdown(text, extensions=["fenced_code", "site_tools.markdown.doctests"])
    assert "blockquote" not in html
    assert '<code class="language-pycon">&gt;&gt;&gt; f([[1]])\n[[2]]\n</code>' in html
    assert "<p>Two.</p>" in html
    assert '<code class="language-text">&gt;&gt;&gt; left alone\n</code>' in html


def test_long_contents_show_chapters_alone_and_the_search_has_every_section() -> None:
    page = (ROOT / "site" / "glossary" / "index.html").read_text(encoding="utf-8")
    assert 'href="#symbols" class="md-nav__link"' in page
    assert 'href="#term-perplexity" class="md-nav__link"' not in page
    assert "glossary/#term-perplexity" in places()


def test_short_contents_stay() -> None:
    entry = '<a href="#a" class="md-nav__link"></a>'
    lower = f'<nav class="md-nav" aria-label="A">{{}}<nav class="md-nav" aria-label="B">{entry}</nav></nav>'
    assert slim(short := lower.format(entry * (MOST_ENTRIES - 1))) == short
    assert slim(f"<p>{lower.format(entry * MOST_ENTRIES)}</p>") == "<p></p>"
