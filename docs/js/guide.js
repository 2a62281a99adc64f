// What the theme leaves undone for readers who use a keyboard or a screen reader, and lists that can be ticked.

const SCROLLS = ".math-display, .table-scroll, pre > code";

// A box that scrolls sideways has to be reachable from the keyboard; one that does not is no stop on the way. The content
// of one that is far out of sight has no width yet.
function markScrollable() {
  const boxes = [...document.querySelectorAll(SCROLLS)];
  const scrolls = boxes.map((box) => box.scrollWidth > box.clientWidth); // all before the first change: one layout
  boxes.forEach((box, index) => {
    if (scrolls[index]) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
}

// Each copy button comes, late, in a <nav> of its own: dozens of landmarks that lead nowhere.
function dropLandmarks() {
  for (const box of document.querySelectorAll("nav.md-code__nav:not([role])")) box.setAttribute("role", "none");
}

// A tooltip of the theme takes away the title that it shows, and with it the name of the control.
function nameControls() {
  for (const control of document.querySelectorAll(":is(.headerlink, .md-content__button, .md-code__button)[title]")) {
    control.setAttribute("aria-label", control.title);
  }
}

// A section with a page of its own takes its name from a label without words, and two such sections have the same name.
function nameSections() {
  for (const section of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
    const title = section.querySelector(":scope > .md-nav__title")?.textContent.trim();
    if (!title || document.getElementById(section.getAttribute("aria-labelledby"))?.textContent.trim()) continue;
    section.removeAttribute("aria-labelledby");
    section.setAttribute("aria-label", title);
  }
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

// The quiz's script comes only to pages that have one.
const SCRIPTS = document.currentScript.src;

function loadQuiz() {
  if (!document.querySelector(".quiz") || document.querySelector("script[data-quiz]")) return;
  const script = Object.assign(document.createElement("script"), { src: new URL("quiz.js", SCRIPTS) });
  script.dataset.quiz = "";
  document.head.append(script);
}

// `llmguide serve` hands its token over after the #. It stays in this tab, and leaves the address and the history.
function takeToken() {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (!token || location.hostname !== "127.0.0.1") return;
  history.replaceState(history.state, "", location.pathname + location.search);
  try {
    sessionStorage.setItem("llmguide.kernel", token);
  } catch {}  // storage is switched off: cells run in the tab
}

takeToken();
// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelector(".md-search__options")?.setAttribute("aria-label", "Search options");
  nameSections();
  nameControls();
  markScrollable();
  addBoxes();
  loadQuiz();
});
function tendLateControls() {
  dropLandmarks();
  nameControls();
}

new MutationObserver(tendLateControls).observe(document.body, { childList: true, subtree: true });
document.fonts.ready.then(markScrollable);
for (const event of ["resize", "toggle", "contentvisibilityautostatechange"]) {
  addEventListener(event, markScrollable, true);
}
