// All questions of the quiz on one page. They come from the pages of its parts, and a filter goes by the reader's records.

import { make } from "../page.js";
import { isDue } from "./cards.js";
import { documentAt } from "./items.js";

/** @type {[string, (id: string, records: Record<string, any>) => boolean][]} */
const FILTERS = [
  ["All", () => true],
  ["Not answered", (id, { quiz }) => !(id in quiz)],
  ["Answered wrongly", (id, { quiz }) => quiz[id] === false],
  ["Due for review", (id, { cards }) => id in cards && isDue(cards[id])],
];

class Catalog {
  constructor(box) {
    this.box = box;
    this.parts = [...document.querySelectorAll(".catalog ~ ul")].map((list) => ({ list, heading: list.previousElementSibling, chapters: [] }));
    this.accepts = FILTERS[0][1];
    this.said = make("output", { tabIndex: -1 });
    this.said.setAttribute("aria-live", "polite");
    this.start = this.button("Show all questions on this page", () => this.load());
    this.filters = FILTERS.map(([, accepts]) => this.button("", () => this.filter(accepts)));
    this.group = make("span", { hidden: true }, ...this.filters);
    this.group.setAttribute("role", "group");
    this.group.setAttribute("aria-label", "Questions to show");
    box.replaceChildren(make("p", { className: "score" }, this.said, this.start, this.group));
  }

  button(textContent, press) {
    const button = make("button", { type: "button", className: "md-button", textContent });
    button.addEventListener("click", press);
    return button;
  }

  get questions() {
    return this.parts.flatMap(({ chapters }) => chapters).flatMap((chapter) => [...chapter.querySelectorAll(".question")]);
  }

  async load() {
    this.start.hidden = true;
    this.said.focus();
    const missing = [];
    for (const [index, part] of this.parts.entries()) {
      if (part.chapters.length) continue;
      const title = part.heading.firstChild.textContent;
      this.said.textContent = `Loading part ${index + 1} of ${this.parts.length}: ${title}.`;
      try {
        await this.add(part);
      } catch {
        missing.push(title);
      }
      if (!this.box.isConnected) return;
    }
    this.said.textContent = "";
    if (missing.length < this.parts.length) this.filter(this.accepts);
    if (!missing.length) return;
    this.said.append(` These parts could not be loaded: ${missing.join(", ")}. Check your connection.`);
    this.start.textContent = "Try again";
    this.start.hidden = false;
  }

  // The links of a part become headings, with the questions of each chapter below.
  async add(part) {
    await loadQuiz();
    const links = [...part.list.querySelectorAll("a")];
    const page = await documentAt(new URL(links[0].href));
    const chapters = links.map(({ hash }) => document.importNode(page.querySelector(`[data-chapter="${hash.slice(1)}"]`), true));
    part.list.replaceWith(...chapters.flatMap((chapter, index) => [make("h3", {}, links[index]), chapter]));
    part.chapters = chapters;
    prepareQuizzes();
  }

  // A question that is answered stays until the next press: its explanation is to be read.
  filter(accepts) {
    this.accepts = accepts;
    const records = this.count();
    const { questions } = this;
    for (const question of questions) question.hidden = !accepts(question.id, records);
    for (const { heading, chapters } of this.parts) {
      for (const chapter of chapters) chapter.hidden = chapter.previousElementSibling.hidden = !chapter.querySelector(".question:not([hidden])");
      heading.hidden = chapters.length > 0 && chapters.every(({ hidden }) => hidden);
    }
    this.filters.forEach((button, index) => button.setAttribute("aria-pressed", FILTERS[index][1] === accepts));
    this.group.hidden = false;
    this.said.textContent = `${questions.filter(({ hidden }) => !hidden).length} of ${questions.length} questions shown.`;
  }

  count() {
    const records = { quiz: kept.read("quiz"), cards: kept.read("cards") };
    const { questions } = this;
    this.filters.forEach((button, index) => {
      const [name, accepts] = FILTERS[index];
      button.textContent = `${name} (${questions.filter(({ id }) => accepts(id, records)).length})`;
    });
    return records;
  }
}

let catalog = null; // of the page that is shown

export function build(box) {
  catalog = new Catalog(box);
}

kept.follow(() => catalog?.box.isConnected && catalog.count());
