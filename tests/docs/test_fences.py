import re

import pytest
from site_tools.fences import (
    COMPUTED,
    blanked,
    dump,
    fences,
    map_prose,
    matches,
    outside_code,
    prose_lines,
    split_computed,
)

PAGE = """\
# Title

!!! note

    ```{.python .run title="two words"}
    if x:
        print("```")
    ```

Text.

````text
```python
nested
```
````
"""


def test_indented_fence_is_dedented_and_keeps_its_place_in_the_page():
    fence = fences(PAGE)[0]
    assert fence.code == 'if x:\n    print("```")'
    assert (fence.language, fence.classes, fence.attributes) == ("python", ("run",), {"title": "two words"})
    assert PAGE.split("\n")[fence.first_code_line - 1].strip() == "if x:"


def test_longer_fence_holds_shorter_ones():
    assert [fence.code for fence in fences(PAGE)][1] == "```python\nnested\n```"


@pytest.mark.parametrize(
    ("info", "language", "classes", "attributes"),
    [
        ("python", "python", (), {}),
        ('python title="a b"', "python", (), {"title": "a b"}),
        ("{ .text .output }", "text", ("output",), {}),
        ('{.python .static reason="needs a GPU"}', "python", ("static",), {"reason": "needs a GPU"}),
        ("", "", (), {}),
    ],
)
def test_header(info, language, classes, attributes):
    fence = fences(f"```{info}\nx\n```")[0]
    assert (fence.language, fence.classes, fence.attributes) == (language, classes, attributes)


def test_fence_that_is_never_closed_names_its_line():
    with pytest.raises(ValueError, match="line 3: the fence '```python' is never closed"):
        fences("a\n\n```python\nx = 1\n")


def test_prose_lines_keep_line_numbers():
    lines = prose_lines(PAGE)
    assert len(lines) == len(PAGE.split("\n"))
    assert [line for line in lines if line] == ["# Title", "!!! note", "Text."]


def test_map_prose_changes_prose_only():
    assert map_prose("cat\n```\ncat\n```\ncat", str.upper) == "CAT\n```\ncat\n```\nCAT"


def test_outside_code_leaves_code_spans_alone():
    replace = outside_code(re.compile("x"), lambda _: "y")
    assert replace("x `x` ``x ` x`` x") == "y `x` ``x ` x`` y"


def test_matches_have_their_lines_and_blanks_keep_them():
    text = "`ab`\nab a\nb"
    assert [(line, match.start()) for line, match in matches(re.compile(r"a\s?b"), text)] == [(2, 5), (2, 8)]
    assert blanked(re.compile(r"a\s?b"), text) == "`ab`\n    \n "


def test_dump_is_longer_than_any_fence_inside():
    assert dump("text", ["```", "a", "```"], "  ") == ["  ````text", "  ```", "  a", "  ```", "  ````"]


@pytest.mark.parametrize(
    ("text", "stored", "expression"),
    [
        ("{{ 12 = x }}", "12", "x"),
        ("{{ = x }}", "", "x"),
        ('{{ 1,024 = f"{n:,}" }}', "1,024", 'f"{n:,}"'),
        ("{{ 1 + 1 = 2 = f'1 + 1 = {1 + 1}' }}", "1 + 1 = 2", "f'1 + 1 = {1 + 1}'"),
        ("{{ True = a == b }}", "True", "a == b"),
    ],
)
def test_inline_value(text, stored, expression):
    match = COMPUTED.fullmatch(text)
    assert match is not None
    assert split_computed(match["value"]) == (stored, expression)


def test_inline_value_without_an_expression_is_an_error():
    with pytest.raises(ValueError, match="does not end in a Python expression"):
        split_computed("12 = (x")
