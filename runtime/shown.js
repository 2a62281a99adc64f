// What is shown as the output of a cell: what the page stores, or what a run gave. An output that the code of the cell
// did not make is dim and says so, and a run that fails leaves the stored output where it is.

import { make } from "./page.js";

export class Shown {
  cell; stored;

  // `stored` are the elements of the page, `anchor` is an element that they stand before, or null: then they end `frame`.
  constructor(cell, { stored, frame, anchor }) {
    Object.assign(this, { cell, stored });
    this.result = null; // {element, words, code, failed} of the last run
    this.before = null; // the result that was there when the run began that is going on
    this.blocked = false; // a cell above failed, so that this one did not run
    this.origin = make("p", { className: "cell-origin" });
    this.start = new Comment();
    if (anchor) (stored[0] ?? anchor).before(this.start);
    else frame.append(this.start, ...stored);
  }

  // Puts the result of a run in the place of the stored output.
  show(blocks, place, { equal = false, failed = false } = {}) {
    const words = make("span");
    const label = make("div", { className: "cell-label" }, words);
    const element = make("div", { className: "cell-result" }, label, ...blocks);
    const from = this.result?.element;
    if (this.stored.length && !equal && !failed) {
      const back = make("button", { type: "button", textContent: "Show the stored output" });
      back.addEventListener("click", () => this.restore());
      label.append(back);
    }
    this.result = { element, words, place, code: this.cell.ran, failed };
    this.blocked = false;
    this.update(from);
    for (const box of element.querySelectorAll("pre > code")) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }

  restore() {
    const from = this.result.element;
    this.result = null;
    this.update(from);
  }

  // A run begins: what is shown is of an earlier one.
  begin() {
    this.before = this.result;
    this.blocked = false;
    this.update();
  }

  // Lays out what belongs there, and dims what the code did not make. `from` is a result that goes.
  update(from = null) {
    const { cell, result, stored } = this;
    const focused = from?.contains(document.activeElement) || (result && stored.some((it) => it.contains(document.activeElement)));
    const waits = cell.running && result === this.before;
    const changed = cell.edited !== null;
    const origin = stored.length && (changed ? "Output of the original code" : (result?.failed || this.blocked) && "Output stored with the page");
    const elements = [];
    if (result) {
      const old = result.code !== cell.text || this.blocked;
      result.words.textContent = `Output ${result.place}${old ? ", of an earlier run" : ""}`;
      result.element.classList.toggle("dimmed", waits || old);
      elements.push(result.element);
    }
    if (!result || result.failed) {
      this.origin.textContent = origin || "";
      elements.push(...(origin ? [this.origin] : []), ...stored);
    }
    for (const element of stored) element.classList.toggle("dimmed", Boolean(origin) || waits);
    for (const element of [from, this.origin, ...stored]) if (element && !elements.includes(element)) element.remove();
    let last = this.start;
    for (const element of elements) {
      if (last.nextSibling !== element) last.after(element);
      last = element;
    }
    if (focused) cell.button.focus();
  }
}

// The output of a run fence follows it; that of a table or figure stands before its folded code, after its Markdown.
export function storedAfter(block) {
  const next = block.nextElementSibling;
  return next?.matches(".highlight.output") ? [next] : [];
}

export function storedBefore(fold, kind) {
  const last = kind === "table" ? "template.stored" : "figure";
  const found = [];
  for (let element = fold.previousElementSibling; element; element = element.previousElementSibling) {
    found.unshift(element);
    if (element.matches(last)) return found;
  }
  return [];
}
