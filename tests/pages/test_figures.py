"""Figures: small accessible drawings, whose colors follow a palette and whose text can be read on a phone."""

from xml.etree import ElementTree

import pytest
from site_tools import DOCS
from site_tools.built.book import with_colors

from llmguide.pages.figures import VARIABLES, drawing, figure, heatmap, in_light_palette, tidy


def draw() -> str:
    """The SVG of a small heatmap."""
    kept: list[str] = []
    with drawing("learn/x/w", alt='An "alt" text', width=400, height=260, done=kept.append) as (_, axes):
        heatmap(axes, [[1, 0], [0.25, 0.75]], rows=["The", "cat"], columns=["The", "cat"])
        axes.plot([0, 1], [0, 1], marker="o")
    return kept[0]


@pytest.fixture(scope="module")
def drawn() -> str:
    return draw()


def test_a_figure_is_saved_and_printed_outside_of_a_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with figure("w", alt='An "alt" text', caption="C") as (_, axes):
        axes.plot([0, 1], [0, 1])
    assert capsys.readouterr().out == '![An "alt" text](w.svg)\nC\n'
    svg = (tmp_path / "w.svg").read_text()
    assert 'style="background: white; ' in svg
    assert "#1d64ad" in svg
    assert "var(" not in svg


def test_the_light_palette_is_that_of_the_site():
    css = (DOCS / "css" / "guide.css").read_text(encoding="utf-8")
    for variable in VARIABLES.values():
        color = with_colors(f"var({variable})", css)
        assert color.startswith("#")
        assert in_light_palette(f"var({variable})") == color


def test_figure_is_an_accessible_vector_image_in_palette_colors(drawn):
    root = ElementTree.fromstring(drawn)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'An "alt" text'
    assert "var(--figure-accent)" in drawn
    assert "0.25" in "".join(root.itertext())
    for unwanted in ("<?xml", "<style", "<image", "<metadata", "font-family", " href", "#0000"):
        assert unwanted not in drawn


def test_figure_ids_are_its_own_and_all_references_resolve(drawn):
    root = ElementTree.fromstring(drawn)
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert ids
    assert all(name.startswith("learn-x-w-") for name in ids)
    link = "{http://www.w3.org/1999/xlink}href"
    uses = [element.attrib[link][1:] for element in root.iter() if link in element.attrib]
    clips = [e.attrib["clip-path"][5:-1] for e in root.iter() if "clip-path" in e.attrib]
    assert set(uses + clips) == ids


def test_text_is_legible_on_a_phone(drawn):
    root = ElementTree.fromstring(drawn)
    shrunk = min(1.0, 328 / float(root.attrib["viewBox"].split()[2]))
    sizes = [
        float(element.attrib["style"].partition("font-size: ")[2].partition("px")[0]) * shrunk
        for element in root.iter()
        if "font-size" in element.attrib.get("style", "")
    ]
    assert sizes
    assert min(sizes) >= 11


def test_figure_is_the_same_twice(drawn):
    assert draw() == drawn


def test_figure_without_alt_text_is_an_error():
    with pytest.raises(ValueError, match="'w' needs an alt text"), figure("w", alt=" "):
        pass


def test_foreign_color_is_an_error():
    with (
        pytest.raises(ValueError, match="color #ff0000 is not in the palette"),
        figure("w", alt="A") as (_, axes),
    ):
        axes.plot([0, 1], [0, 1], color="red")


def test_bitmap_is_an_error():
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><image/></svg>'
    with pytest.raises(ValueError, match="holds a bitmap"):
        tidy(svg, prefix="p", alt="a")
