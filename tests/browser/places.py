"""Where a link to a place leads: just below the header, or as near to it as the end of the page allows."""

from playwright.sync_api import Locator

from tests.browser.host import wait_until

IS_THERE = """element => {
  const { bottom, height } = document.querySelector(".md-header").getBoundingClientRect();
  const below = element.getBoundingClientRect().top - bottom;
  const isAtTheEnd = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
  return below >= 0 && (below < height || isAtTheEnd);
}"""
# Fonts have come, and for 30 frames nothing has moved: what is laid out late would move the place.
AT_REST = """async element => {
  await document.fonts.ready;
  for (let frames = 0, last = null; frames < 30; frames++) {
    await new Promise(requestAnimationFrame);
    const { top } = element.getBoundingClientRect();
    if (top !== last) frames = 0;
    last = top;
  }
}"""


def expect_to_land(target: Locator) -> None:
    """Wait until a place is where a link to it leads, and stays there."""
    wait_until(target.page, lambda: target.evaluate(IS_THERE))
    target.evaluate(AT_REST)
    assert target.evaluate(IS_THERE), "it has moved away"
