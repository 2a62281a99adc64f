// What the theme leaves undone for readers who use a keyboard or a screen reader, and lists that can be ticked.

const SCROLLS = ".math-display, .table-scroll, pre > code";

const boxesIn = (element) => [...element.querySelectorAll(SCROLLS), ...(element.matches(SCROLLS) ? [element] : [])];

// What is far out of sight or folded has no width, and to ask for it would lay it out: its turn comes when it is near.
const isLaidOut = (box) => (box.firstElementChild ?? box).checkVisibility?.({ contentVisibilityAuto: true }) ?? true;

// A box that scrolls sideways has to be reachable from the keyboard; one that does not is no stop on the way.
function mark(boxes) {
  const seen = boxes.filter(isLaidOut);
  const scrolls = seen.map((box) => box.scrollWidth > box.clientWidth); // all before the first change: one layout
  seen.forEach((box, index) => {
    if (scrolls[index]) box.tabIndex = 0;
    else if (box !== document.activeElement) box.removeAttribute("tabindex");
  });
}

const markScrollable = () => mark(boxesIn(document.body));

const near = new Set();

function markNear(/** @type {any} */ { target, skipped }) {
  if (skipped) return;
  if (!near.size) {
    setTimeout(() => {
      mark([...near].flatMap(boxesIn));
      near.clear();
    });
  }
  near.add(target);
}

// Each copy button comes, late, in a <nav> of its own: dozens of landmarks that lead nowhere.
function dropLandmarks() {
  for (const box of document.querySelectorAll("nav.md-code__nav:not([role])")) {
    box.setAttribute("role", "none");
    mark(boxesIn(box.parentElement)); // the theme has taken the code's tabindex on screens that are touched
  }
}

// Long code, which guide.css folds, gets a button. What scrolls it unfolds it: a browser that has found a word in it.
function addFolds() {
  for (const pre of document.querySelectorAll(".long > pre:not(details *, :has(> .unfold))")) {
    const lines = pre.textContent.trimEnd().split("\n").length;
    const button = Object.assign(document.createElement("button"), { type: "button", className: "unfold" });
    const show = (unfolded) => {
      pre.parentElement.classList.toggle("unfolded", unfolded);
      button.setAttribute("aria-expanded", unfolded);
      button.textContent = unfolded ? "Show fewer lines" : `Show all ${lines} lines`;
    };
    button.addEventListener("click", () => {
      show(button.ariaExpanded === "false");
      if (button.ariaExpanded === "false") pre.scrollIntoView({ block: "nearest" });
    });
    pre.querySelector("code").addEventListener("scroll", ({ target }) => {
      const hidden = target.scrollTop;
      if (!hidden) return;
      show(true);
      scrollBy(0, hidden); // what was shown stays where it was
    });
    show(false);
    pre.append(button);
  }
}

// The words of a title stand beside its element while the pointer or the focus is there. The theme has that too, and
// prepares it for each title of a page before the reader can do anything.
const tip = Object.assign(document.createElement("div"), { id: "tip", role: "tooltip" });
let tipped = null; // the element, without its title, which the browser would show as well

function hideTip() {
  if (!tipped) return;
  tip.remove();
  tipped.title = tip.textContent;
  tipped.removeAttribute("aria-describedby");
  tipped = null;
}

function showTip({ target }) {
  if (tipped?.contains(target) || tip.contains(target)) return;
  hideTip();
  tipped = target.closest?.("[title]") ?? null;
  if (!tipped) return;
  tip.textContent = tipped.title;
  tipped.removeAttribute("title");
  tipped.setAttribute("aria-describedby", tip.id);
  document.body.append(tip);
  const { left, width, bottom } = tipped.getBoundingClientRect();
  const most = document.documentElement.clientWidth - tip.offsetWidth;
  tip.style.left = `${scrollX + Math.max(0, Math.min(left + (width - tip.offsetWidth) / 2, most))}px`;
  tip.style.top = `${scrollY + bottom}px`;
}

// What shows a title takes it away, and with it the name of the control.
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
function addBoxes() {
  for (const list of document.querySelectorAll(".checklist > :is(ol, ul):not([data-boxes])")) {
    list.dataset.boxes = "";
    const count = document.createElement("output");
    const boxes = [...list.children].map((item) => {
      const step = item.textContent.trim().replace(/\s+/g, " ");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: kept.read("ticked")[step] ?? false });
      const label = document.createElement("label");
      label.append(...item.childNodes);
      item.append(box, label);
      box.id = `step-${document.querySelectorAll(".checklist [type=checkbox]").length}`;
      label.htmlFor = box.id;
      box.addEventListener("change", () => {
        kept.change("ticked", { [step]: box.checked || undefined });
        show();
      });
      return box;
    });
    const show = () => (count.textContent = `${boxes.filter((box) => box.checked).length} of ${boxes.length} done`);
    show();
    list.after(count);
  }
}

// What few pages need comes only to them.
const SCRIPTS = /** @type {HTMLScriptElement} */ (document.currentScript).src;

let quiz = null;

const loadQuiz = () =>
  (quiz ??= new Promise((resolve, reject) => {
    const onerror = () => {
      quiz = null; // to be tried again
      reject(new Error("The script of the quiz could not be fetched."));
    };
    document.head.append(Object.assign(document.createElement("script"), { src: new URL("quiz.js", SCRIPTS).href, onload: resolve, onerror }));
  }));

const loadReview = (name) => import(new URL(`../runtime/review/${name}.js`, SCRIPTS).href).catch(() => ({})); // none in a page read from disk

function addReviews() {
  for (const name of ["review", "overview", "placement", "catalog"]) {
    for (const box of document.querySelectorAll(`.${name}:not([data-ready])`)) {
      box.dataset.ready = "";
      loadReview(name).then(({ build }) => build?.(box));
    }
  }
  if (Object.values(kept.read("cards")).some(({ due }) => due <= Date.now())) loadReview("due_count").then(({ show }) => show?.());
}

addEventListener("llmguide:answered", ({ detail }) => loadReview("cards").then(({ answered }) => answered?.(detail)));

// `llmguide serve` hands its token over after the #. It stays in this tab, and leaves the address and the history. Anybody
// can make such a link: a token that the tab has already gives way only to one that the server accepts.
const KERNEL = "llmguide.kernel";

async function takeToken() {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (!token || location.hostname !== "127.0.0.1") return;
  history.replaceState(history.state, "", location.pathname + location.search);
  try {
    const held = sessionStorage.getItem(KERNEL);
    if (held === token) return;
    if (held !== null && !(await fetch("/llmguide-token", { headers: { Authorization: `Bearer ${token}` } })).ok) return;
    sessionStorage.setItem(KERNEL, token);
    if (document.readyState !== "loading") location.reload(); // the page was built without it
  } catch {}  // storage is switched off, or the server has gone: cells run in the tab
}

// A link to a place needs all heights above it, so guide.css leaves nothing out in a page that is aimed. A link within
// the page is left to the browser.
function aim({ target }) {
  const link = target.closest?.("a[href*='#']");
  if (!link) return;
  document.documentElement.classList.add("aimed");
  if (pageOf(link) !== pageOf(location)) return;
  link.target ||= "_self"; // the theme follows no link that has a target
  history.scrollRestoration = "auto"; // of the place that Back leads to
}

// The theme is not told of places within the page: at the first of them it would fetch the page and replace what is
// shown, with the outputs of its cells, and scroll to where the place was before.
function keepWithinPage() {
  let shown = pageOf(location);
  const { next } = location$;
  location$.next = (url) => {
    if (pageOf(url) === shown) return;
    shown = pageOf(url);
    next.call(location$, url);
  };
}

const pageOf = ({ pathname, search }) => pathname + search;

// Instant navigation scrolls before the new page has its heights, and fonts that come late change them. So the place is
// held until the heights rest or the reader acts. Back and forward bring a state.
const HELD = 2000; // ms

function landOnTarget() {
  if (history.state !== null || !location.hash) return;
  document.documentElement.classList.add("aimed");
  const heights = new ResizeObserver(() => document.querySelector(":target")?.scrollIntoView());
  heights.observe(document.querySelector("article"));
  const rest = () => heights.disconnect();
  for (const type of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(type, rest, { once: true, passive: true });
  setTimeout(rest, HELD);
}

takeToken();
keepWithinPage();
// The theme emits on document$ at load and again after each instant navigation.
document$.subscribe(() => {
  hideTip();
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  document.querySelector(".md-search__options")?.setAttribute("aria-label", "Search options");
  nameSections();
  nameControls();
  markScrollable();
  addBoxes();
  addFolds();
  if (document.querySelector(".quiz")) loadQuiz().catch(() => {}); // the page is complete without it
  addReviews();
  document.documentElement.classList.toggle("aimed", Boolean(location.hash));
  landOnTarget();
});
function tendLateControls() {
  dropLandmarks();
  nameControls();
}

addEventListener("click", aim, true); // before the theme follows the link
addEventListener("hashchange", landOnTarget);
addEventListener("hashchange", takeToken);
new MutationObserver(tendLateControls).observe(document.body, { childList: true, subtree: true });
for (const event of ["mouseover", "focusin"]) addEventListener(event, showTip);
addEventListener("focusout", hideTip);
addEventListener("keydown", ({ key }) => key === "Escape" && hideTip());
document.fonts.addEventListener("loadingdone", markScrollable); // a formula's fonts come when it comes near
addEventListener("resize", markScrollable);
for (const event of ["toggle", "contentvisibilityautostatechange"]) addEventListener(event, markNear, true);
