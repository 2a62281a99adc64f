// Makes the graded exercises of a page editable and checks them where its cells run. Without it they are complete to
// read: task, signature, and hints and solution as folded text. Python starts as for cells: early_start.js.

import { confirm, confirmed } from "./stored_edits.js";
import { hasKernel, make, megabytes, missing, noteFetched, partsOf, RUN_KEY } from "./page.js";
import { hideProgress, showProgress } from "./progress.js";

const SCOPE = "exercises"; // names of the pages stay as they are: each check runs in a namespace of its own
const CHECK = `
from llmguide.exercises.checking import check
from session import emit

graded = check(name, source, earlier)
message = graded.message.removeprefix(f"{name}: ")
emit({"passed": graded.passed, "message": message[0].upper() + message[1:]})
`;

let backend = null; // the module, once it was needed

const { read, change } = kept;

// ---- one exercise --------------------------------------------------------------------------------------------------

export class Exercise {
  element; block; onChange; siblings; isReview; name; editor; running;

  // In a review the code starts from the stub and is not stored.
  constructor(element, { onChange = () => {}, siblings = () => [], isReview = false } = {}) {
    const block = element.querySelector(".stub");
    Object.assign(this, { element, block, onChange, siblings, isReview, name: element.dataset.name, editor: null, running: false });
    this.code = block.querySelector("code");
    this.html = this.code.innerHTML;
    this.stub = this.code.textContent.trimEnd();
    this.key = `llmguide.drafts/${this.name}`;
    const forget = () => change("drafts", { [this.name]: undefined });
    const label = `Exercise ${this.name}`;
    this.draft = isReview ? undefined : (confirmed(this.key, read("drafts")[this.name] ?? null, { label, forget }) ?? undefined);
    this.build();
    this.show();
  }

  build() {
    this.mark = make("span", { className: "mark" });
    this.element.querySelector("p").append(" ", this.mark);
    this.checkButton = this.button("Check", () => (this.running ? this.stop() : this.check()));
    this.checkButton.className = "cell-run";
    this.editButton = this.button("Edit", () => this.edit());
    this.resetButton = this.button("Reset", () => {
      this.reset();
      this.editButton.focus();
    });
    this.parts = partsOf(this.element.dataset.loads);
    this.note = make("span", { className: "cell-note" });
    this.hint();
    this.bar = make("div", { className: "cell-bar" }, this.checkButton, this.editButton, this.resetButton, this.note);
    const frame = make("div", { className: "cell" });
    this.block.replaceWith(frame);
    this.result = make("output", { className: "result" });
    this.result.setAttribute("aria-live", "polite");
    frame.append(this.block, this.bar);
    frame.after(this.result);
    this.frame = frame;
    unfoldOneByOne([...this.element.querySelectorAll(":scope > details.tip")]);
  }

  button(text, onclick) {
    const button = make("button", { type: "button", onclick });
    this.label(button, text);
    return button;
  }

  label(button, text) {
    button.textContent = text;
    button.setAttribute("aria-label", `${text} exercise ${this.name}`);
  }

  // Where a check runs, and what it downloads the first time.
  hint() {
    const parts = missing(this.parts);
    const place = hasKernel() ? "on your machine" : "in your tab";
    this.note.textContent = `Runs ${place}${!hasKernel() && parts.length ? ` · ${megabytes(parts).toFixed(1)} MB once` : ""}`;
  }

  setRunning(running) {
    this.running = running;
    this.label(this.checkButton, running ? "Stop" : "Check");
    this.frame.classList.toggle("running", running);
  }

  showMark() {
    this.mark.textContent = read("exercises")[this.name] && !this.isReview ? "done" : "";
  }

  show() {
    this.showMark();
    this.resetButton.hidden = this.draft === undefined;
    if (this.editor) return;
    if (this.draft === undefined) this.code.innerHTML = this.html;
    else this.showDraft(this.draft);
  }

  // The colors come with the editor, a moment later.
  async showDraft(draft) {
    this.code.textContent = draft;
    const { color } = await import("./editing.js");
    const colored = await color(draft).catch(() => null);
    if (colored && this.draft === draft) this.code.replaceChildren(colored);
  }

  say(kind, ...lines) {
    this.result.className = `result ${kind}`;
    this.result.replaceChildren(...lines);
  }

  async edit() {
    this.editButton.disabled = this.resetButton.disabled = true; // one editor, with the code of now
    try {
      const { edit } = await import("./editing.js");
      this.editor = await edit(this.block, {
        id: `help-${this.element.id}`,
        help: `${RUN_KEY} checks. Tab indents; Escape, then Tab, leaves.`,
        code: this.draft ?? this.stub,
        label: `Your answer to exercise ${this.name}`,
        complete: (code, cursor) => (backend ? backend.complete(SCOPE, code, cursor) : { from: cursor, names: [] }),
        onRun: () => this.check(),
        onChange: (code) => this.change(code),
      });
    } catch (error) {
      return this.say("wrong", `The editor could not be loaded. ${error.message}`);
    } finally {
      this.editButton.disabled = this.resetButton.disabled = false;
    }
    this.editButton.hidden = true;
    this.editor.focus();
  }

  change(code) {
    this.draft = code === this.stub ? undefined : code;
    if (!this.isReview) {
      change("drafts", { [this.name]: this.draft });
      confirm(this.key, this.draft ?? null);
    }
    this.show();
  }

  async check() {
    if (this.running) return;
    this.setRunning(true);
    this.canceled = false;
    this.say("");
    this.note.textContent = "Starting";
    try {
      backend ??= await import("./backend.js");
    } catch (error) {
      this.rest();
      return this.say("wrong", `The checker could not be loaded. ${error.message}`);
    }
    if (this.canceled) {
      this.rest();
      return this.say("wrong", "Stopped.");
    }
    const found = await backend.run(CHECK, {
      scope: SCOPE,
      name: "check",
      needs: "torch",
      inputs: { name: this.name, source: this.draft ?? this.stub, earlier: this.earlier() },
      onLoading: (...stage) => (this.note.textContent = showProgress(this.bar, ...stage)),
      onStart: () => {
        hideProgress(this.bar);
        this.note.textContent = "Checking";
      },
    });
    if (found.started) noteFetched(this.parts);
    this.rest();
    this.judge(found);
  }

  // The solved answers of this page, by name: an exercise may call those it builds on.
  earlier() {
    const done = read("exercises");
    const solved = this.siblings().filter(({ name, draft }) => done[name] && draft !== undefined && name !== this.name);
    return Object.fromEntries(solved.map(({ name, draft }) => [name, draft]));
  }

  stop() {
    this.canceled = true;
    backend?.stop();
  }

  rest() {
    this.setRunning(false);
    hideProgress(this.bar);
    this.onChange();
  }

  judge({ ok, stopped, error, stdout, data }) {
    const printed = stdout ? [make("p", {}, "Your code printed:"), make("pre", { textContent: stdout })] : [];
    if (!ok) return this.say("wrong", make("p", {}, stopped ? "Stopped." : error), ...printed);
    const [{ passed, message }] = data;
    const [, verdict, rest] = /^(Right\.|Not yet\.)? ?([^]*)$/.exec(message);
    const lines = rest ? rest.split("\n").map((line) => make("p", { textContent: line })) : [];
    this.say(passed ? "right" : "wrong", make("strong", { textContent: verdict ?? "" }), ...lines, ...printed);
    if (passed) change("exercises", { [this.name]: true });
    dispatchEvent(new CustomEvent("llmguide:answered", { detail: { id: this.element.id, right: passed } }));
    this.show();
    this.onChange();
  }

  reset() {
    this.editor?.close();
    this.editor = null;
    this.editButton.hidden = false;
    this.say("");
    this.change(this.stub);
  }
}

// The next hint shows when the one before it has been read.
function unfoldOneByOne(hints) {
  hints.forEach((hint, index) => {
    if (hints.length > 1) hint.querySelector("summary").textContent = `Hint ${index + 1} of ${hints.length}`;
    hint.hidden = index > 0;
    hint.addEventListener("toggle", () => hints[index + 1] && (hints[index + 1].hidden = false), { once: true });
  });
}

// ---- a page of them, and the list of all ----------------------------------------------------------------------------

const progress = (names) => {
  const done = read("exercises");
  return `${names.filter((name) => done[name]).length} of ${names.length} done`;
};

let refresh = () => {}; // of the page that is shown
addEventListener("llmguide:fetched", () => refresh());
kept.watch((kind) => kind === "exercises" && refresh());

function buildPage(elements) {
  const count = make("output");
  const clear = make("button", { type: "button", className: "md-button", textContent: "Reset this chapter's exercises" });
  const show = () => {
    for (const exercise of built) {
      exercise.showMark();
      if (!exercise.running) exercise.hint();
    }
    count.textContent = progress(built.map(({ name }) => name));
    clear.hidden = !built.some(({ name, draft }) => read("exercises")[name] || draft !== undefined);
  };
  const built = elements.map((element) => new Exercise(element, { onChange: show, siblings: () => built }));
  clear.addEventListener("click", () => {
    change("exercises", Object.fromEntries(built.map(({ name }) => [name, undefined])));
    for (const exercise of built) exercise.reset();
    show();
    built[0].editButton.focus();
  });
  elements[0].before(make("p", { className: "score" }, count, " ", clear));
  refresh = show;
  show();
}

function buildList(list) {
  list.dataset.ready = "";
  const links = [...list.querySelectorAll('a[href*="#exercise-"]')];
  const nameOf = (link) => link.hash.slice("#exercise-".length);
  for (const link of links) if (read("exercises")[nameOf(link)]) link.parentElement.append(" ", make("span", { className: "mark", textContent: "done" }));
  list.prepend(make("p", { className: "score" }, progress(links.map(nameOf))));
}

document$.subscribe(() => {
  if (location.protocol === "file:") return; // browsers start no worker from a file
  const exercises = [...document.querySelectorAll(".exercise:not([data-ready])")];
  for (const exercise of exercises) exercise.dataset.ready = "";
  if (exercises.length) setTimeout(buildPage, 0, exercises); // the theme is long at work itself
  document.querySelectorAll(".exercise-list:not([data-ready])").forEach(buildList);
});
