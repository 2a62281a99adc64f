"""What axe finds by color, for each look of a word instead of each word."""

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
# Colored words of code and shapes of figures are most of a page, and only their colors can be wrong.
FLATTEN = """() => {
  const meant = "title, desc, a, button, input, [role], [tabindex], [aria-label], [aria-hidden]";
  for (const code of document.querySelectorAll("pre code")) {
    if (!code.querySelector(meant)) code.textContent = code.textContent;
  }
  for (const shape of document.querySelectorAll(`svg :not(${meant}, :has(${meant}))`)) shape.remove();
}"""
# Marks the words whose look is new, and returns these looks. Five words of each look, since axe does not
# decide about one that something else covers; nor does it about a single character, nor by the fill of a text
# in a figure. A look is what axe goes by: the color of a word and what is painted behind it, whether it is
# large, and of a link also what sets it apart from the text around it.
MARK = """seen => {
  const painted = new Map(), counts = Object.fromEntries(seen.map(look => [look, 5]));
  const behind = element => {
    if (!element) return "";
    if (!painted.has(element)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(element);
      const own = [backgroundColor, backgroundImage, opacity].join();
      const isClear = own === "rgba(0, 0, 0, 0),none,1";
      painted.set(element, behind(element.parentElement) + (isClear ? "" : `/${own}`));
    }
    return painted.get(element);
  };
  const marked = new Set();
  const isWord = ({ nodeType, data }) => nodeType === 3 && data.trim().length > 1;
  for (const element of document.body.querySelectorAll(":not(svg *)")) {
    delete element.dataset.newLook;
    const hasWord = [...element.childNodes].some(isWord);
    if (!(hasWord || element.matches("a, button, input, select, textarea"))) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(element);
    const isLarge = parseFloat(fontSize) >= (Number(fontWeight) >= 700 ? 18.6 : 24);
    const link = element.closest("a");
    const apart = link && [fontWeight, textDecorationLine, getComputedStyle(link.parentElement).color];
    const look = `${[color, isLarge, apart]} ${behind(element)}`;
    counts[look] = (counts[look] ?? 0) + 1;
    if (counts[look] > 5) continue;
    element.dataset.newLook = "";
    marked.add(look);
  }
  return [...marked];
}"""


def colors(page: Page, looks: set[str]) -> list[str]:
    """Violations by color of the words whose look is not among those seen, to which they are added."""
    marked = page.evaluate(MARK, sorted(looks))
    looks.update(marked)
    return axe(page, BY_COLOR, within="[data-new-look]") if marked else []
