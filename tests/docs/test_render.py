"""A page is rendered by itself, and what is wrong with it is said."""

import pytest
from site_tools import DOCS
from site_tools.checks.render import problems

from llmguide.pages.facts import all_facts

pytestmark = pytest.mark.nightly  # each loads the whole configuration


def test_a_mistake_is_named_with_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(all_facts(), "context-gpt3")
    found = problems([DOCS / "learn" / "attention.md", DOCS / "tutors.md"])
    assert len(found) == 1
    assert "unknown fact [[context-gpt3]]" in found[0]
