// The line under a cell that tells where it runs and how a run went, and the details behind the number of the cell.

import { hasKernel, make, megabytes, missing, RUN_KEY } from "./page.js";

const LONG = 5; // seconds; a reader wants to know of a longer wait beforehand
const PARTS = { core: "Python", torch: "NumPy and a subset of PyTorch", figure: "Matplotlib" };

const seconds = (value) => (value < 0.005 ? "under 0.01 s" : `${value.toFixed(value < 0.095 ? 2 : 1)} s`);
const wait = ({ secondsTab }) => (secondsTab < 100 ? `${Math.round(secondsTab)} s` : `${Math.round(secondsTab / 60)} min`);
const size = (parts) => `${megabytes(parts).toFixed(1)} MB`;

export class Status {
  cell; plan;

  // `plan()` gives what pressing Run does now: {parts, models, above, secondsTab}, or null where the cell does not run.
  constructor(cell, plan) {
    Object.assign(this, { cell, plan });
    const name = `Cell ${cell.number}`;
    this.note = make("span", { className: "cell-note" });
    this.details = make("ul", { className: "cell-details", popover: "auto" });
    this.button = make("button", { type: "button", className: "cell-number", textContent: name });
    this.button.popoverTargetElement = this.details;
    this.button.setAttribute("aria-label", `${name}: details`);
    this.details.addEventListener("beforetoggle", () => {
      this.details.replaceChildren(...this.lines().map((textContent) => make("li", { textContent })));
    });
    this.elements = [this.note, this.button, this.details];
  }

  // What stands in the line before a run.
  hint(place) {
    const plan = this.plan();
    if (!plan) return this.set(`Runs with llmguide serve, not in the tab: ${this.cell.reason}`);
    const model = plan.models.find((model) => model.missing);
    if (model) return this.set(`Runs ${place} · ${model.title} stays in this browser · needs ${model.memory} MB of memory`);
    const parts = missing(plan.parts);
    const download = !hasKernel() && parts.length ? [`${size(parts)} once`] : [];
    const long = !hasKernel() && plan.secondsTab >= LONG ? [`takes ${wait(plan)} or more`] : [];
    this.set([`Runs ${place}`, ...download, ...long].join(" · "));
  }

  set(...content) {
    this.note.replaceChildren(...content);
    this.note.classList.remove("failed");
  }

  lines() {
    const { cell } = this;
    const lines = [];
    if (cell.seconds !== null) {
      const torch = cell.needs === "torch" || cell.needs === "figure" ? "with PyTorch " : "";
      lines.push(`Takes ${seconds(cell.seconds)} ${torch}on one CPU core.`);
    }
    const plan = this.plan();
    if (!plan) return lines;
    const [first, last] = [plan.above[0]?.number, plan.above.at(-1)?.number];
    if (first) lines.push(first === last ? `Runs cell ${first} above first.` : `Runs cells ${first} to ${last} above first.`);
    if (!hasKernel()) {
      if (plan.secondsTab >= LONG) lines.push(`Takes ${wait(plan)} or more in the tab, with the cells above.`);
      const parts = [...missing(plan.parts), ...plan.models.filter(({ missing }) => missing).map(({ title, missing }) => [title, missing.toFixed(1)])];
      const names = parts.map(([part, megabytes]) => `${PARTS[part] ?? part} (${megabytes} MB)`);
      if (parts.length) lines.push(`Downloads ${names.join(", ")}, once.`);
      for (const { title, stored } of plan.models) if (stored) lines.push(`${title}: ${stored.toFixed(1)} MB are stored in this browser.`);
    }
    return [...lines, `${RUN_KEY} runs the cell that has the focus.`];
  }
}

export { seconds };
