"""Programs write only what changes, and name what is wrong."""

import json
from pathlib import Path

import pytest
from site_tools import DOCS, GENERATED, ROOT, generate
from site_tools.content import api, bibliography, reference
from site_tools.npm import npm

from llmguide.pages.facts import Fact


def times() -> dict[Path, int]:
    places = [ROOT / "mkdocs.yml", *(DOCS / name for name in (*GENERATED, "reference", "assets/vendor"))]
    paths = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in paths}


@pytest.mark.nightly
def test_a_second_run_writes_nothing() -> None:  # or `mkdocs serve` would build for ever
    before = times()
    generate.main()
    if times() != before:  # since the last run its inputs have changed
        before = times()
        generate.main()
    assert times() == before
    assert all(any(str(path).startswith(str(DOCS / name)) for path in before) for name in GENERATED)


@pytest.mark.parametrize(("installed", "found"), [({}, "none"), ({"katex": "0.1.0"}, "0.1.0")])
def test_a_missing_package_is_named(tmp_path: Path, installed: dict[str, str], found: str) -> None:
    package = {"dependencies": {"katex": "0.19.1"}, "devDependencies": {}}
    (tmp_path / "package.json").write_text(json.dumps(package), encoding="utf-8")
    for name, version in installed.items():
        folder = tmp_path / "node_modules" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
    message = f"node_modules: katex 0.19.1 is needed, {found} is installed; run npm ci"
    with pytest.raises(ValueError, match=message):
        generate.check_packages(tmp_path)


def test_a_program_that_fails_says_where() -> None:
    with pytest.raises(ValueError, match=r"(?s)esbuild --bundle nowhere\.js: .*nowhere\.js"):
        npm("esbuild", "--bundle", "nowhere.js")


def test_what_is_no_python_is_named_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "ROOT", tmp_path)
    monkeypatch.setattr(api, "SOURCES", tmp_path)
    (tmp_path / "part.py").write_text("x = 1\ny = (\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"part\.py:2: '\(' was never closed"):
        api.parsed("part")


def test_a_navigation_without_its_marks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mkdocs.yml").write_text("nav:\n", encoding="utf-8")
    monkeypatch.setattr(reference, "CONFIG", tmp_path / "mkdocs.yml")
    with pytest.raises(
        ValueError, match=r"mkdocs\.yml lacks the lines '# written by site_tools\.content\.reference' and"
    ):
        reference.main()


def test_bibtex_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"docs/_data/references\.bib:2: syntax error: "):
        bibliography.parse("@misc{a, title={x}\n@misc{b, title={}}")


def test_a_fact_with_an_unknown_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Fact("layers-x", 1, "1", "nobody1999", "table 1")
    monkeypatch.setattr(bibliography, "all_facts", lambda: {one.key: one})
    monkeypatch.setattr(bibliography, "page_paths", list)
    message = r"src/llmguide/pages/facts\.toml: \[layers-x\]: unknown citation @nobody1999; add it to"
    with pytest.raises(ValueError, match=message):
        bibliography.render()
