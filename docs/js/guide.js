// What the theme leaves undone for readers who use a keyboard or a screen reader.

const SCROLLS = ".math-display, .table-scroll, pre > code";

// A box that scrolls sideways has to be reachable from the keyboard; one that does not is no stop on the way.
function markScrollable() {
  for (const box of document.querySelectorAll(SCROLLS)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// Each copy button comes, late, in a <nav> of its own: dozens of landmarks that lead nowhere.
function dropLandmarks() {
  for (const box of document.querySelectorAll("nav.md-code__nav:not([role])")) box.setAttribute("role", "none");
}

// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  markScrollable();
});
new MutationObserver(dropLandmarks).observe(document.body, { childList: true, subtree: true });
document.fonts.ready.then(markScrollable);
for (const event of ["resize", "toggle"]) addEventListener(event, markScrollable, true);
