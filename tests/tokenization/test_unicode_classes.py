"""The committed character classes against tiktoken's engine and the rest of Unicode."""

import sys
import unicodedata

import pytest
from site_tools.unicode_classes import CLASSES, matched_code_points
from tests.parity import assert_parity

from llmguide.tokenization.unicode_classes import CLASS_NAMES, code_point_ranges


def members(name):
    return [c for first, last in code_point_ranges(name) for c in range(first, last + 1)]


@pytest.mark.parity
@pytest.mark.parametrize(("pattern", "name"), [*CLASSES.items(), (r"\p{L}", "L")])
def test_every_code_point_is_classed_as_in_tiktoken(pattern, name):
    assert_parity(
        members(name),
        matched_code_points(pattern),
        of="llmguide.tokenization.unicode_classes.code_point_ranges",
        against="tiktoken.Encoding",
        atol=0,
    )


@pytest.mark.parametrize("name", [name for name in CLASS_NAMES if name != "s"])
def test_assigned_characters_keep_their_class_in_pythons_own_database(name):
    """A second source: `unicodedata` knows an older Unicode, in which a few categories differed."""
    ours = set(members(name))
    known = [c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    differing = [c for c in known if unicodedata.category(chr(c)).startswith(name) != (c in ours)]
    assert len(differing) <= 2


def test_white_space_by_hand():
    """PropList.txt lists 25 characters; U+001C to U+001F and the zero-width space are not among them."""
    spaces = members("s")
    assert len(spaces) == 25
    assert {0x09, 0x0D, 0x20, 0x85, 0xA0, 0x3000} <= set(spaces)
    assert not {0x1C, 0x1F, 0x200B, 0xFEFF} & set(spaces)


def test_ranges_are_ascending_and_disjoint():
    for name in CLASS_NAMES:
        points = members(name)
        assert points == sorted(set(points))


def test_unknown_class_is_named():
    with pytest.raises(ValueError, match=r"'Han'.*L, s, Lu"):
        code_point_ranges("Han")
