"""The search finds what readers mean, at once, whatever they type."""

import re
from operator import itemgetter
from typing import Any

import pytest
from site_tools.built.search import Section, add_words, sections
from tests.search import ASKED, PAGE, TYPED, ask, places

MEASURE = """
    const seconds = (work) => {
      const before = process.cpuUsage();
      work();
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1e6;
    };
"""


@pytest.fixture(scope="module")
def answered() -> dict[str, Any]:
    """What is shown for each query, a list of sections for each page."""
    queries = [*TYPED, *(query for queries in ASKED.values() for query in queries), "x < y", "&lt;"]
    shown = ask("return given.queries.map((query) => answers.answer(query).items);", queries=queries)
    return dict(zip(queries, shown, strict=True))


def test_every_expected_section_exists() -> None:
    expected = {place for kind in ASKED.values() for targets in kind.values() for place in targets}
    assert expected <= places(), expected - places()


@pytest.mark.parametrize(("kind", "least"), [("learner", 27), ("identifier", 10), ("held_out", 12)])
def test_the_right_section_comes_first(kind: str, least: int, answered: dict[str, Any]) -> None:
    missed = []
    for query, expected in ASKED[kind].items():
        best = max(answered[query][0], key=itemgetter("score"))["location"] if answered[query] else None
        if best not in expected:
            missed.append(f"{query} -> {best}")
    assert len(ASKED[kind]) - len(missed) >= least, "\n".join(missed)


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.nightly)])
def test_every_keystroke_is_answered_at_once_and_the_first_within_a_second(step: int) -> None:
    """In seconds of the processor, which do not depend on what else the machine does."""
    texts = [*TYPED, *ASKED["learner"]][::step]
    typed = [text[:n] for text in texts for n in range(1, len(text) + 1)]
    until_first, took = ask(
        MEASURE
        + """const { docs } = JSON.parse(readFileSync(given.index, "utf8"));
        return [
          seconds(() => new m.Answers(docs).answer("rope")),
          given.typed.map((text) => seconds(() => answers.answer(text))),
        ];""",
        typed=[*typed, PAGE],
    )
    assert until_first < 1
    slow = {text: s for text, s in zip([*typed, PAGE], took, strict=True) if s > 0.5}
    assert not slow


def test_results_hold_no_markup_but_marks(answered: dict[str, Any]) -> None:
    """Also for what is typed: the theme takes titles and texts for HTML."""
    items = [item for pages in answered.values() for page in pages for item in page]
    found = [item[part] for item in items for part in ("title", "text")]
    assert len(found) > 1000
    for text in found:
        assert not re.search(r"<(?!/?(?:mark|small|p)>)|&(?!(?:amp|lt|gt);)", text), text
        assert not re.search(r"\\(?:frac|left|mathbf|operatorname|sqrt|text|theta)", text), text


BUILT = """
<html><head><meta name="description" content="About."></head><body><article>
<h1 id="one">One</h1>
<h2 id="two">Two <a class="headerlink">¶</a></h2>
<p>By <span class="math"><span class="katex"><span class="katex-mathml"><math><semantics>
<msqrt><mi>d</mi></msqrt><annotation>\\sqrt d</annotation></semantics></math></span>
<span class="katex-html">√d</span></span></span> <span class="citation">(Ada, 1843)</span>, so.</p>
<div class="highlight"><pre><code>run(x)</code></pre></div>
<h2 id="three">Three</h2>
<h3 id="under">Under</h3>
<!-- no word --><p>Last.</p>
</article></body></html>
"""


def test_a_formula_is_read_once_and_what_is_no_prose_is_not_shown(tmp_path) -> None:
    page = tmp_path / "page.html"
    page.write_text(BUILT, encoding="utf-8")
    found = [(section.title, section.text) for section in sections("learn/page.md", page)]
    assert found == [("One", "About."), ("Two", "By √d, so."), ("Three", "Under"), ("Under", "Last.")]
    assert [section.more for section in sections("learn/page.md", page)] == ["", "(Ada, 1843) run(x)", "", ""]


def test_words_for_a_section_that_is_gone_stop_the_build() -> None:
    section = Section("Page", "Title", "", "", "", ("learn/page.md", "title"), 1.0)
    add_words([section], {"learn/page.md#title": "heading"})
    assert section.words == " heading"
    with pytest.raises(ValueError, match=r"unknown sections: learn/page\.md#gone"):
        add_words([section], {"learn/page.md#gone": "lost"})
