// What the theme leaves undone for readers who use a keyboard or a screen reader, and lists that can be ticked.

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

// The steps of a checklist get boxes; ticks stay in this browser, each under the words of its step.
const TICKED = "llmguide.ticked";

function readTicks() {
  try {
    return new Set(JSON.parse(localStorage.getItem(TICKED) ?? "[]"));
  } catch {
    return new Set();  // storage is switched off, or holds what someone else wrote: the boxes last as long as the page
  }
}

function tick(step, on) {
  const ticked = readTicks();
  ticked[on ? "add" : "delete"](step);
  try {
    localStorage.setItem(TICKED, JSON.stringify([...ticked]));
  } catch {}
}

function addBoxes() {
  for (const list of document.querySelectorAll(".checklist > :is(ol, ul):not([data-boxes])")) {
    list.dataset.boxes = "";
    const count = document.createElement("output");
    const boxes = [...list.children].map((item) => {
      const step = item.textContent.trim().replace(/\s+/g, " ");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: readTicks().has(step) });
      const label = document.createElement("label");
      label.append(...item.childNodes);
      item.append(box, label);
      box.id = `step-${document.querySelectorAll(".checklist [type=checkbox]").length}`;
      label.htmlFor = box.id;
      box.addEventListener("change", () => {
        tick(step, box.checked);
        show();
      });
      return box;
    });
    const show = () => (count.textContent = `${boxes.filter((box) => box.checked).length} of ${boxes.length} done`);
    show();
    list.after(count);
  }
}

// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  markScrollable();
  addBoxes();
});
new MutationObserver(dropLandmarks).observe(document.body, { childList: true, subtree: true });
document.fonts.ready.then(markScrollable);
for (const event of ["resize", "toggle"]) addEventListener(event, markScrollable, true);
