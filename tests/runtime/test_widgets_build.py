"""What is told about the download of a widget, and how a page comes to know it."""

import gzip
import subprocess
from pathlib import Path

import markdown
import pytest
from site_tools import ROOT
from site_tools.tab.widgets import MODULES, download, modules, sizes

BOX = '<div class="widget" data-widget="{name}" data-label="it" markdown>\n\nWords.\n\n</div>'


def html(text: str) -> str:
    return markdown.markdown(text, extensions=["md_in_html", "site_tools.markdown.widgets"])


def test_modules_are_followed_through_their_imports() -> None:
    names = {path.name for path in modules(MODULES / "trainer.js")}
    assert names == {"trainer.js", "bpe.js", "ui.js"}
    assert "backend.js" in {path.name for path in modules(MODULES / "pipeline.js")}


def test_every_module_of_the_folder_is_of_some_use() -> None:
    started = ("tokenizer", "trainer", "explorer", "sampler", "calculators", "scale", "pipeline", "steering")
    used: set[Path] = set()
    for name in started:
        used |= modules(MODULES / f"{name}.js")
    assert {path for path in MODULES.glob("*.js") if path.name != "start.js"} <= used


def test_a_download_is_the_sum_of_its_minified_and_compressed_files() -> None:
    paths = [MODULES / name for name in ("scale.js", "formulas.js", "ui.js")]
    minify = [ROOT / "node_modules" / ".bin" / "esbuild", "--minify"]
    sent = [subprocess.run([*minify, path], check=True, capture_output=True).stdout for path in paths]
    assert download("scale") == sum(len(gzip.compress(code, mtime=0)) for code in sent)
    assert sizes("scale") == {}
    assert sizes("tokenizer")["r50k_base"] < download("tokenizer") < 250_000
    assert max(sizes("tokenizer").values()) < 1_100_000


def test_the_page_gets_the_bytes_and_keeps_the_words() -> None:
    found = html(BOX.format(name="scale"))
    assert f'data-bytes="{download("scale")}"' in found
    assert "<p>Words.</p>" in found


def test_code_is_left_alone() -> None:
    assert "data-bytes" not in html(f"```html\n{BOX.format(name='scale')}\n```")


def test_a_widget_that_does_not_exist_fails_the_build() -> None:
    with pytest.raises(ValueError, match="no widget is called 'sclae'"):
        html(BOX.format(name="sclae"))
