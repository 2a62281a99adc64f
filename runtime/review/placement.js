// The page that finds the chapter to start with, and shows the path from there with what is done.

import { BASE, fetchJson, make } from "../page.js";
import { form, itemAt } from "./items.js";
import { best, MOST, next, posterior } from "./ladder.js";

const hours = (minutes) => `${(minutes / 60).toFixed(1)} h`;
// In random order, and numbers, which take longer, last.
const shuffled = (items) => items.map((item) => [item.numeric + Math.random(), item]).sort(([a], [b]) => a - b).map(([, item]) => item);
const linkTo = ({ page, title }) => make("a", { href: new URL(`${page}/`, BASE), textContent: title });

const solvedOf = ({ exercises }) => exercises.filter((name) => kept.read("exercises")[name]).length;

function left(step) {
  const unsolved = 1 - solvedOf(step) / (step.exercises.length || 1);
  return (kept.read("read")[step.page] ? 0 : step.minutes) + step.practice * unsolved;
}

function entry(step) {
  const all = step.exercises.length;
  const solved = solvedOf(step);
  const tasks = all ? `; ${all} ${all === 1 ? "exercise" : "exercises"}, ${hours(step.practice)}` : "";
  const done = [
    ...(kept.read("read")[step.page] ? ["✓ read"] : []),
    ...(solved ? [solved === all ? "✓ exercises" : `${solved} of ${all} exercises`] : []),
  ];
  return make("li", {}, linkTo(step), ` (${hours(step.minutes)}${tasks}) `, make("span", { className: "mark", textContent: done.join(", ") }));
}

class Placement {
  start; steps; box; items;

  constructor(box, { start, steps, items }) {
    Object.assign(this, { start, steps, box, items: shuffled(items) });
    this.said = make("output", { tabIndex: -1 });
    this.said.setAttribute("aria-live", "polite");
    this.begin = this.button("", () => this.ask());
    this.again = this.button("Start over", () => this.clear());
    this.card = make("div", { className: "card" });
    this.path = make("div");
    box.replaceChildren(make("p", { className: "score" }, this.said, this.begin, this.again), this.card, this.path);
    this.show();
  }

  button(textContent, press) {
    const button = make("button", { type: "button", className: "md-button", textContent });
    button.addEventListener("click", press);
    return button;
  }

  get answers() {
    const stored = kept.read("placement");
    return this.items.filter(({ id }) => id in stored).map((item) => [item, stored[item.id]]);
  }

  get next() {
    return next(this.items, this.start.length - 1, this.answers);
  }

  show() {
    const { answers, steps } = this;
    const known = answers.length ? best(posterior(this.start.length - 1, answers)) : 0;
    const first = steps.findIndex(({ page }) => page === this.start[known]);
    const words =
      !answers.length ? ["No question answered yet: the path starts at the beginning."]
      : this.next ? [`${answers.length} of at most ${MOST} questions answered.`]
      : ["Start with ", linkTo(steps[first]), `. That is the result of ${answers.length} questions.`];
    this.said.replaceChildren(...words);
    this.begin.textContent = answers.length ? "Continue" : "Find my place";
    this.begin.hidden = !this.next || this.card.hasChildNodes();
    this.again.hidden = !answers.length;
    const ahead = steps.slice(first);
    const summary = `Your path has ${ahead.length} chapters. About ${Math.round(ahead.reduce((sum, step) => sum + left(step), 0) / 60)} hours are left.`;
    const skipped = make("details", {}, make("summary", { textContent: `${first} earlier chapters, which you can skip` }), make("ul", {}, ...steps.slice(0, first).map(entry)));
    this.path.replaceChildren(make("p", { textContent: summary }), make("ol", {}, ...ahead.map(entry)), ...(first ? [skipped] : []));
  }

  async ask() {
    const item = this.next;
    this.card.replaceChildren();
    if (!item) {
      this.show();
      return this.said.focus();
    }
    const number = make("p", { className: "from", tabIndex: -1, textContent: `Question ${this.answers.length + 1} of at most ${MOST}` });
    const buttons = make("p", { className: "rating" }, this.button("I do not know", () => {
      this.note(item, false);
      this.ask();
    }));
    const judged = (right) => {
      this.note(item, right);
      buttons.replaceChildren(this.button(this.next ? "Next question" : "Show where to start", () => this.ask()));
    };
    this.card.append(number);
    try {
      this.card.replaceChildren(number, await form(await itemAt(item), judged), buttons);
    } catch (error) {
      this.card.replaceChildren(make("p", { textContent: error.message }));
    }
    this.show();
    number.focus();
  }

  // The first answer counts: one that follows an explanation says little.
  note({ id }, right) {
    if (!(id in kept.read("placement"))) kept.change("placement", { [id]: right });
    this.show();
  }

  clear() {
    kept.change("placement", Object.fromEntries(Object.keys(kept.read("placement")).map((id) => [id, undefined])));
    this.card.replaceChildren();
    this.show();
    this.begin.focus();
  }
}

let placement = null; // of the page that is shown

export async function build(box) {
  placement = new Placement(box, await fetchJson("placement.json"));
}

kept.watch(() => placement?.box.isConnected && placement.show());
