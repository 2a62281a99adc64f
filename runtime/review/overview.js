// The table of what was done in each chapter, and the file that holds it.

import { BASE, make, VENDOR } from "../page.js";
import { adopt, course, isDue } from "./cards.js";
import { add, exported, parsed } from "./file.js";

const COLUMNS = ["Chapter", "Read", "Cells run", "Questions answered", "Answered right", "Exercises solved", "Due"];

const outOf = (done, all) => (all ? `${done} of ${all}` : "none");

function row({ page, title, cells, items }) {
  const [answers, solved, stored] = ["quiz", "exercises", "cards"].map(kept.read);
  const ids = Object.keys(items);
  const graded = ids.filter((id) => id.startsWith("exercise-")).map((id) => id.slice("exercise-".length));
  const questions = ids.filter((id) => !id.startsWith("exercise-"));
  const ran = Object.keys(kept.read("run")).filter((name) => name.slice(0, name.lastIndexOf("/")) === page);
  const due = ids.filter((id) => id in stored && isDue(stored[id])).length;
  const isChapter = page !== "exercises";
  const values = [
    isChapter ? (kept.read("read")[page] ? "yes" : "no") : "",
    outOf(ran.length, cells),
    outOf(questions.filter((id) => id in answers).length, questions.length),
    questions.filter((id) => answers[id]).length,
    outOf(graded.filter((name) => solved[name]).length, graded.length),
    due,
  ];
  const name = make("th", { scope: "row" }, make("a", { href: new URL(`${page}/`, BASE), textContent: title }));
  return make("tr", {}, name, ...values.map((value) => make("td", { textContent: value })));
}

class Overview {
  box; chapters;

  constructor(box, chapters) {
    Object.assign(this, { box, chapters });
    this.rows = make("tbody");
    const heads = COLUMNS.map((name) => make("th", { scope: "col", textContent: name }));
    const caption = make("caption", { textContent: "What you have done in each chapter" });
    const table = make("table", {}, caption, make("thead", {}, make("tr", {}, ...heads)), this.rows);
    this.said = make("output");
    this.said.setAttribute("aria-live", "polite");
    const input = make("input", { type: "file", accept: "application/json,.json", hidden: true });
    input.addEventListener("change", () => this.open(input));
    const buttons = [
      this.button("Export as a file", () => this.save("llmguide-progress.json", exported())),
      this.button("Import a file", () => input.click()),
      this.button("Export my cards for Anki", () => this.saveForAnki()),
      this.button("Delete everything", () => this.clear()),
    ];
    box.replaceChildren(make("div", { className: "table-scroll", tabIndex: 0 }, table), make("p", { className: "score" }, ...buttons, input), this.said);
    this.show();
  }

  button(text, press) {
    const button = make("button", { type: "button", className: "md-button", textContent: text });
    button.addEventListener("click", press);
    return button;
  }

  show() {
    this.rows.replaceChildren(...this.chapters.map(row));
  }

  save(download, text) {
    const href = URL.createObjectURL(new Blob([text]));
    make("a", { href, download }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000); // once the browser has read it
    this.said.textContent = `Exported as ${download}.`;
  }

  // The lines of the reader's cards, from the file that site_tools/content/anki.py writes.
  async saveForAnki() {
    const stored = kept.read("cards");
    const lines = (await (await fetch(new URL("llmguide-anki.txt", VENDOR))).text()).split("\n");
    const mine = lines.filter((line) => line.startsWith("#") || line.slice(0, line.indexOf("\t")) in stored);
    this.save("llmguide-anki.txt", `${mine.join("\n")}\n`);
  }

  async open(input) {
    const [file] = input.files;
    if (!file) return;
    try {
      add(parsed(await file.text()));
      this.said.textContent = `Imported ${file.name}.`;
    } catch (error) {
      this.said.textContent = `${error.message} Nothing was imported.`;
    }
    input.value = ""; // the same file can be chosen again
    this.show();
  }

  clear() {
    if (!confirm("Delete your answers, code, cards and marks from this browser?")) return;
    for (const kind of Object.keys(kept.KINDS)) {
      kept.change(kind, Object.fromEntries(Object.keys(kept.read(kind)).map((name) => [name, undefined])));
    }
    this.said.textContent = "Deleted.";
    this.show();
  }
}

let overview = null; // of the page that is shown

export async function build(box) {
  const chapters = await course();
  await adopt();
  overview = new Overview(box, chapters);
}

kept.watch(() => overview?.show());
