// Starts Python before a reader presses Run, but never before a sign that they will: a pointer that rests on a Run
// button, the focus on it, a touch of it, or a run earlier in this visit.

import { hasKernel, VISIT_NEEDS } from "./page.js";

const DWELL = 150; // ms; a pointer on its way elsewhere is no sign
const BUTTON = ".cell-run";
const RUNS = "[data-cell]:not([data-needs=local]), .exercise";

let waiting = 0; // the timer of a button

async function prepare(needs) {
  if (hasKernel() || navigator.connection?.saveData) return;
  try {
    await (await import("./backend.js")).prepare(needs);
  } catch {} // a run will fail too, and say why
}

// An exercise needs what it imports for its check.
const needsOf = (button) => button.closest(".cell").querySelector("[data-cell]")?.dataset.needs ?? "torch";

function expect({ target, type }) {
  clearTimeout(waiting);
  const button = target.closest?.(BUTTON);
  if (button) waiting = setTimeout(() => prepare(needsOf(button)), type === "touchstart" ? 0 : DWELL);
}

// ---- a later page of a visit ---------------------------------------------------------------------------------------

function visitNeeds() {
  try {
    return sessionStorage.getItem(VISIT_NEEDS);
  } catch {
    return null; // storage is switched off
  }
}

const whenIdle = window.requestIdleCallback ?? setTimeout; // Safari has none

const near = new IntersectionObserver(
  (entries) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    near.disconnect();
    whenIdle(() => prepare(visitNeeds()));
  },
  { rootMargin: "100% 0px" }, // a window's height away
);

if (location.protocol !== "file:") {
  for (const type of ["pointerover", "focusin", "touchstart"]) addEventListener(type, expect, { passive: true });
  document$.subscribe(() => {
    near.disconnect();
    if (visitNeeds()) for (const element of document.querySelectorAll(RUNS)) near.observe(element);
  });
}
