"""What the other tests name of pages is what the pages have."""

from site_tools.content.exercises import placed

from tests.browser.named import CHAPTER, EXERCISES, WITHOUT_EXERCISES


def test_the_exercises_that_tests_name_are_on_their_page() -> None:
    found = placed()
    assert found[f"{CHAPTER}.md"] == EXERCISES
    assert f"{WITHOUT_EXERCISES}.md" not in found
