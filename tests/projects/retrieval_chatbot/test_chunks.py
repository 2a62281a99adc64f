from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmguide.data.documents import Document
from llmguide.projects.retrieval_chatbot.chunks import Chunk, cut, sections, windows

TEXTS = st.text(alphabet=" \n\n\tab#*=-.`~é", max_size=300)


def document(text):
    return Document(text, "doc", "")


@pytest.mark.parametrize("way", [cut, windows])
@given(text=TEXTS, size=st.integers(4, 60), share=st.floats(0, 0.25))
def test_chunks_are_slices_that_hold_every_letter_and_are_small(way, text, size, share):
    overlap = int(size * share)
    chunks = list(way(document(text), size, overlap))
    held = set()
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.stop]
        assert chunk.text.strip()
        assert len(chunk.text) <= size
        held.update(range(chunk.start, chunk.stop))
    assert all(i in held for i, letter in enumerate(text) if not letter.isspace())
    assert all(later.start > earlier.start for earlier, later in pairwise(chunks))
    assert all(earlier.stop - later.start <= overlap for earlier, later in pairwise(chunks))


@given(text=TEXTS)
def test_sections_together_are_the_text(text):
    found = list(sections(text))
    assert "".join(text[part.start : part.stop] for part in found) == text


def test_no_chunk_crosses_a_heading():
    text = "".join(f"Title {i}\n=======\n\n{'word ' * 30}\n\n" for i in range(5))
    for chunk in cut(document(text), size=1000, overlap=100):
        assert chunk.text.count("=======") == 1


def test_neighbors_overlap_by_whole_lines():
    lines = [f"line {i} of many words" for i in range(40)]
    chunks = list(cut(document("\n".join(lines)), size=200, overlap=50))
    for earlier, later in pairwise(chunks):
        shared = earlier.text[later.start - earlier.start :]
        assert shared
        assert all(line in lines for line in shared.split("\n"))


def test_a_long_section_is_cut_before_an_entry_rather_than_inside_it():
    entry = "name{}()\n\n   Explains what it does.\n\n   And more of it.\n\n"
    text = "".join(entry.format(i) for i in range(12))
    for chunk in cut(document(text), size=200, overlap=0):
        assert chunk.text.startswith("name")


def test_a_chunk_keeps_the_indentation_of_code():
    (chunk,) = cut(document("\n\n    def f():\n        pass\n"))
    assert chunk.text == "    def f():\n        pass"


def test_titles_follow_the_order_of_styles():
    text = "Part\n****\n\nOne\n===\n\na\n\nSmall\n-----\n\nb\n\nTwo\n===\n\nc\n"
    assert [part.title for part in sections(text)] == [
        "Part",
        "Part > One",
        "Part > One > Small",
        "Part > Two",
    ]


def test_markdown_headings_count_and_comments_of_code_do_not():
    text = "# Top\n\n```python\n# no heading\n```\n\n## Below\n\ntext\n"
    assert [part.title for part in sections(text)] == ["Top", "Top > Below"]


def test_a_rule_under_a_blank_line_or_a_longer_title_is_no_heading():
    assert [part.title for part in sections("a\n\n=====\n\ntitle: x\n---\n")] == [""]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (100, 26), (100, -1)])
def test_sizes_that_do_not_fit_are_refused(size, overlap):
    with pytest.raises(ValueError, match=f"size={size} must be 1 or more, and overlap={overlap}"):
        list(cut(document("text"), size, overlap))


@pytest.mark.parametrize(
    ("title", "text", "titled"),
    [
        ("A > B", "words", "A > B\nwords"),
        ("A > B", "B\n=\n\nwords", "A\nB\n=\n\nwords"),
        ("B", "B\n=\n\nwords", "B\n=\n\nwords"),
        ("", "words", "words"),
    ],
)
def test_the_title_stands_once(title, text, titled):
    assert Chunk("doc", title, 0, 1, text).titled == titled
