"""Boxes, cells and arrows: where they are, what they are colored, and that their texts fit."""

from collections.abc import Iterator

import pytest

from llmguide.pages.diagrams import COLORS, Diagram
from llmguide.pages.figures import VARIABLES, drawing


@pytest.fixture
def diagram() -> Iterator[Diagram]:
    with drawing("d", alt="A box.", width=300, height=200, done=len) as (_, axes):
        yield Diagram(axes)


def test_a_unit_is_a_pixel_and_y_grows_downward(diagram: Diagram) -> None:
    box = diagram.box(100, 50, width=60, height=20)
    assert (box.left, box.right, box.top, box.bottom) == ((70, 50), (130, 50), (100, 40), (100, 60))
    assert diagram.axes.get_xlim() == (0, 300)
    assert diagram.axes.get_ylim() == (200, 0)


@pytest.mark.parametrize(("vertical", "last"), [(False, (20 + 2 * 34, 40)), (True, (20, 40 + 2 * 26))])
def test_cells_follow_each_other(diagram: Diagram, vertical: bool, last: tuple[float, float]) -> None:
    cells = diagram.cells(20, 40, ["a", "", "c"], width=30, height=22, gap=4, vertical=vertical)
    assert [(cell.x, cell.y) for cell in cells][::2] == [(20, 40), last]
    assert [text.get_text() for text in diagram.axes.texts] == ["a", "c"]


def test_a_role_has_its_color_and_none_is_not_filled(diagram: Diagram) -> None:
    diagram.cells(20, 40, ["", "", ""], roles=["data", None, "signal"])
    assert [patch.get_facecolor()[3] for patch in diagram.axes.patches] == pytest.approx([0.16, 0, 0.16])
    assert len({patch.get_edgecolor() for patch in diagram.axes.patches}) == 3
    assert len(set(COLORS.values())) == len(COLORS)
    assert set(COLORS.values()) <= set(VARIABLES)


def test_a_text_that_leaves_its_box_is_refused(diagram: Diagram) -> None:
    diagram.box(100, 50, "fits", width=60)
    with pytest.raises(ValueError, match=r"'a much longer text' needs \d+ x \d+ px and its box has 60 x 40"):
        diagram.box(100, 50, "a much longer text", width=60)
