"""What axe finds by color, for each look of a word instead of each word."""

from collections import Counter

from playwright.sync_api import Page
from tests.browser.windows import axe

# What axe finds by color, for which it looks through the whole page for what is behind a word.
BY_COLOR = ("color-contrast", "link-in-text-block")
# What is out of sight is not laid out: it has no place of its own, and axe cannot tell what is behind it. Of
# a formula only its width is left: axe walks through all of its parts, even if it is to leave them out.
LAY_OUT = """() => {
  for (const box of document.querySelectorAll("article *")) {
    if (getComputedStyle(box).contentVisibility === "auto") box.style.contentVisibility = "visible";
  }
  const formulas = [...document.querySelectorAll(".katex")];
  const widths = formulas.map(formula => formula.getBoundingClientRect().width);
  formulas.forEach((formula, index) => {
    formula.style.cssText = `display: inline-block; width: ${widths[index]}px`;
    formula.textContent = "x";
  });
  dispatchEvent(new Event("resize")); // guide.js marks the boxes that scroll
}"""
# Marks the words whose look is new, and returns these looks. Three words of each look, since axe does not
# decide about one that something else covers. A look is what the style sheets and axe go by: the classes and
# backgrounds of a word and of all around it, its color, and its font.
MARK = """counts => {
  const around = new Map(), marked = [];
  const look = element => {
    if (!element) return "";
    if (!around.has(element)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element);
      const own = [element.tagName, element.getAttribute("class"), backgroundColor, backgroundImage, opacity];
      around.set(element, `${look(element.parentElement)}/${own}`);
    }
    return around.get(element);
  };
  const hasText = ({ childNodes }) => [...childNodes].some(it => it.nodeType === 3 && it.data.trim());
  for (const element of document.body.querySelectorAll("*")) {
    delete element.dataset.newLook;
    if (!(hasText(element) || element.matches("a, button, input, select, textarea"))) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(element);
    const key = `${look(element)} ${[color, fontSize, fontWeight, textDecorationLine]}`;
    if (counts[key] >= 3) continue;
    counts[key] = (counts[key] ?? 0) + 1;
    element.dataset.newLook = "";
    marked.push(key);
  }
  return marked;
}"""


def colors(page: Page, looks: Counter[str]) -> list[str]:
    """Violations by color of the words whose look is not among those seen, to which they are added."""
    marked = page.evaluate(MARK, looks)
    looks.update(marked)
    return axe(page, BY_COLOR, within="[data-new-look]") if marked else []
