// Gives each cell of a page its buttons. Without it the page is complete: code, and the output that was stored with it.
// Nothing of Python is fetched before a reader shows that they will run code (early_start.js), and nothing of the editor before Edit.

import "./early_start.js";
import "./chapters_read.js";
import { keepEdit, keyOf, readEdit } from "./stored_edits.js";
import { add, hold, look, modelsOf, release, remove, states } from "./model_list.js";
import { forget, forgetAll, note, pending } from "./names.js";
import { hasKernel, make, megabytes, missing, noteFetched, pageName, partsOf, RUN_KEY } from "./page.js";
import { hideProgress, showProgress } from "./progress.js";
import { Shown, storedAfter, storedBefore } from "./shown.js";
import { seconds, Status } from "./status.js";

const IDLE = "Run", BUSY = "Stop";
const KINDS = ["table", "figure", "raises"];
const STEPS = ["core", "torch", "figure"]; // each needs what the one before it needs

let backend = null; // the module, once it was needed
let output = null;
let turn = Promise.resolve(); // readers may press Run on a second cell while the first one runs
let active = null; // the cell that runs

const where = () => (backend?.where() === "kernel" || hasKernel() ? "on your machine" : "in your tab");
const capital = (text) => text[0].toUpperCase() + text.slice(1);

async function load() {
  if (backend) return;
  [backend, output] = await Promise.all([import("./backend.js"), import("./output.js")]);
  backend.watch(() => {
    forgetAll();
    for (const cell of cells) cell.setChecks([]);
    release();
    lookAtModels();
  });
}

// ---- one cell -----------------------------------------------------------------------------------------------------

class Cell {
  block; page; all; needs; reason; number; parts;

  constructor(block, page, all) {
    const { cell, needs, loads, models, seconds, secondsTab, reason } = block.dataset;
    Object.assign(this, { block, page, all, needs, reason, number: Number(cell), parts: partsOf(loads) });
    this.usual = this.models = add(modelsOf(models)); // an edit may need more
    this.seconds = seconds === undefined ? null : Number(seconds); // with PyTorch, on one CPU core
    this.secondsTab = Number(secondsTab ?? 0); // with the subset, before the tab slows it down
    this.kind = KINDS.find((kind) => block.classList.contains(kind)) ?? "run";
    this.code = block.querySelector("code");
    this.html = this.code.innerHTML;
    this.source = this.code.textContent.replace(/\n$/, "");
    this.key = keyOf(page, this.number, this.source);
    this.edited = readEdit(this.key);
    this.editor = null;
    this.running = false;
    this.fold = block.closest("details.how");
    if (this.fold && this.edited !== null) this.fold.open = true; // a later cell runs this one first: let it be seen
    this.stored = this.fold ? storedBefore(this.fold, this.kind) : storedAfter(block);
    this.markdown = this.stored.flatMap((element) => (element.matches(".stored") ? JSON.parse(element.dataset.markdown) : [])).join("\n\n");
    this.build();
  }

  get runs() {
    return this.needs !== "local" || hasKernel(); // a kernel may refuse the tab's token, and is then gone
  }

  get text() {
    return this.edited ?? this.source;
  }

  // Above another cell a figure runs for its names only, which spares readers matplotlib. The build has tried that.
  get drawn() {
    return this.kind !== "figure" || this.edited !== null || this.source.includes("matplotlib");
  }

  build() {
    this.frame = make("div", { className: "cell" });
    this.button = make("button", { type: "button", className: "cell-run" });
    this.button.addEventListener("click", () => (this.running ? this.stop() : this.start()));
    this.edit = make("button", { type: "button", textContent: "Edit" });
    this.edit.addEventListener("click", () => this.openEditor());
    this.reset = make("button", { type: "button", textContent: "Reset", title: "Restore the guide's code" });
    this.reset.addEventListener("click", () => this.restore());
    this.remove = make("button", { type: "button", textContent: "Remove model", title: "Delete the model from this browser" });
    this.remove.addEventListener("click", () => this.removeModels());
    this.check = make("button", { type: "button", textContent: "Check gradient" });
    this.check.addEventListener("click", () => this.start(() => this.checkGradient()));
    for (const [button, verb] of [[this.edit, "Edit"], [this.reset, "Reset"], [this.remove, "Remove model of"], [this.check, "Check gradient of"]]) {
      button.setAttribute("aria-label", `${verb} cell ${this.number}`);
    }
    this.setButton(IDLE);
    this.status = new Status(this, () => this.plan());
    const buttons = this.runs ? [this.button, this.edit, this.reset, this.check, this.remove] : [];
    this.bar = make("div", { className: "cell-bar" }, ...buttons, ...this.status.elements);
    this.frame.id = `cell-${this.number}`;
    this.block.replaceWith(this.frame);
    this.frame.append(this.block, this.bar);
    this.shown = new Shown(this, { stored: this.stored, frame: this.frame, anchor: this.fold });
    this.frame.addEventListener("keydown", (event) => {
      if (this.runs && event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
        event.preventDefault();
        this.start();
      }
    });
    this.setChecks([]);
    this.showText();
  }

  // What pressing Run does now; null where the cell does not run.
  plan() {
    if (!this.runs) return null;
    const above = this.above();
    const secondsTab = [...above, this].reduce((sum, cell) => sum + cell.secondsTab, 0);
    return { parts: this.parts, models: hasKernel() ? [] : states(this.models), above, secondsTab };
  }

  // Says what will be downloaded, if a model is. A press agrees to that.
  showButtons() {
    const { parts, models } = this.plan() ?? { models: [] };
    const wanted = models.filter(({ missing }) => missing);
    const size = megabytes(missing(parts ?? [])) + wanted.reduce((sum, { missing }) => sum + missing, 0);
    this.agreed = wanted.map(({ name }) => name);
    this.setButton(wanted.length ? `${IDLE} · downloads ${Math.round(size)} MB` : IDLE);
    this.remove.hidden = !models.some(({ stored }) => stored);
  }

  async removeModels() {
    const titles = states(this.models).map(({ title }) => title);
    await remove(this.models);
    this.button.focus();
    this.tell(`${titles.join(" and ")} was removed from this browser`);
    lookAtModels();
  }

  // The cells above that run first, in order.
  above() {
    return pending(this.all.filter((cell) => cell.number < this.number && cell.runs));
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  start(work = () => this.run()) {
    if (this.running) return;
    this.running = true;
    this.canceled = false;
    this.setButton(BUSY);
    this.remove.hidden = true;
    this.shown.begin();
    const left = active && !active.frame.isConnected;
    this.say(`Waiting for ${left ? "a cell of a page that you left; Stop ends both" : "another cell"}`);
    const order = (this.order = {}); // a reader may stop to wait, and press Run again before the turn comes
    const mine = () => this.order === order;
    turn = turn.then(() => mine() && work()).catch((error) => this.fail(error.message)).finally(() => mine() && this.end());
  }

  end() {
    this.order = null;
    this.running = false;
    this.shown.update();
    lookAtModels();
  }

  setButton(label) {
    this.button.textContent = label;
    this.button.setAttribute("aria-label", `${label}${label.includes("·") ? "," : ""} cell ${this.number}`);
    this.frame.classList.toggle("running", label === BUSY);
  }

  async stop() {
    if (active === this) {
      this.canceled = true;
      this.say("Stopping");
      return backend?.stop();
    }
    this.end();
    this.tell("Stopped");
    if (active && !active.frame.isConnected) await active.stop(); // its button went with its page
  }

  async run() {
    active = this;
    try {
      this.say("Starting");
      await load();
      if (this.canceled) return this.tell("Stopped");
      const above = this.above();
      const needed = [this, ...above.filter((cell) => cell.drawn)].map((cell) => STEPS.indexOf(cell.needed()));
      const hooks = { needs: STEPS[Math.max(0, ...needed)], agreed: this.agreed, onLoading: (...stage) => this.status.set(showProgress(this.bar, ...stage)) };
      for (const cell of above) {
        const onStart = () => this.say(`Running cell ${cell.number} first`);
        const result = await cell.execute({ ...hooks, draw: cell.drawn, onStart });
        if (!result.started) return this.show(result);
        if (cell.drawn) noteFetched(cell.parts);
        if (result.stopped) return this.tellStopped(result); // what was printed belongs to the cell above
        if (!result.ok && cell.kind !== "raises") {
          cell.show(result);
          return this.blockedBy(cell);
        }
        if (result.ok) cell.passed();
        if (this.canceled) return this.tell("Stopped. Variables are kept"); // it was done all the same
      }
      const result = await this.execute({ ...hooks, onStart: () => this.say("Running"), ...this.stream() });
      if (result.started) {
        hold(this.models);
        noteFetched(this.parts);
      }
      this.show(result);
    } finally {
      active = null;
    }
  }

  // The calls of check_gradient that the code as it ran allows.
  setChecks(checks) {
    this.checks = checks;
    this.check.hidden = !checks.length || this.ran !== this.text;
  }

  async checkGradient() {
    active = this;
    try {
      this.say("Checking the gradient");
      const { page, number } = this;
      const imports = ["from llmguide.training.gradient_check import check_gradient", "from session import emit"];
      const code = [...imports, ...this.checks.map((check) => `emit(str(${check}))`)].join("\n");
      const result = await backend.run(code, { scope: page, page, name: `gradient check of cell ${number}` });
      if (result.ok) this.tell(result.data.join(" "));
      else if (result.stopped) this.tellStopped(result);
      else this.fail(result.error.split("\n").filter((line) => !/^(?: |Traceback)/.test(line)).join(". "));
    } finally {
      active = null;
    }
  }

  async execute(hooks) {
    const kind = this.edited === null || this.kind !== "raises" ? this.kind : "run";
    const { page, number, text } = this;
    this.ran = text;
    const result = await backend.run(text, { scope: page, page, name: `cell ${number}`, kind, ...hooks });
    this.setChecks(result.checks);
    if (result.ok || (this.kind === "raises" && result.started && !result.stopped && !result.lost)) {
      note(this, text);
      kept.change("run", { [`${page}/${number}`]: true });
    } else if (result.started) forget(this);
    return result;
  }

  // An edit may import what the cell did not need before.
  needed() {
    const { needs, edited } = this;
    if (edited === null) return needs;
    if (edited.includes("matplotlib")) return "figure";
    return needs === "core" && /\b(?:torch|numpy|llmguide)\b/.test(edited) ? "torch" : needs;
  }

  // Text and charts appear while the code prints them, at most once a frame.
  stream() {
    let text = "", pending = 0;
    const data = [];
    const draw = () => {
      pending = 0;
      this.shown.show([...(text ? [output.textBlock(text)] : []), ...output.emitted(data)], where());
    };
    const drawSoon = () => {
      pending ||= requestAnimationFrame(draw);
      this.endStream = () => cancelAnimationFrame(pending);
    };
    return {
      onOutput: (more, stream) => {
        if (stream === "markdown") return;
        text += more;
        drawSoon();
      },
      onData: (value) => {
        if (!value?.chart) return; // files are offered at the end
        data[0] = value;
        drawSoon();
      },
    };
  }

  show(result) {
    this.endStream?.();
    if (result.models) this.models = [...new Set([...this.models, ...add(result.models)])];
    if (!result.started) return result.stopped ? this.tell("Stopped") : this.fail(result.error);
    const isEdited = this.all.some((cell) => cell.number <= this.number && cell.edited !== null);
    const { blocks, verdict, equal, failed } = output.render(result, this, isEdited);
    if (!blocks.length && (this.stored.length || this.shown.result)) {
      blocks.push(make("p", { className: "cell-empty", textContent: "Nothing was printed." }));
    }
    if (blocks.length) this.shown.show(blocks, where(), { equal, failed });
    if (result.stopped) return this.tellStopped(result);
    this.tell(`${capital(where())}, ${seconds(result.seconds)}${verdict}${result.note ? `. ${result.note}` : ""}`);
  }

  tellStopped({ lost }) {
    this.tell(`Stopped. Variables are ${lost ? "lost: the next run starts with the first cell" : "kept"}`);
  }

  // The cell has run for a cell below it: what it showed of an earlier failure no longer holds.
  passed() {
    const failed = this.shown.result?.failed;
    if (!failed && !this.shown.blocked) return;
    this.shown.blocked = false;
    if (failed) this.shown.restore();
    else this.shown.update();
    this.told = false; // its line is written again at the end of the run
  }

  // A cell above has failed.
  blockedBy({ number, fold, shown, edited, button }) {
    const link = make("a", { href: `#cell-${number}`, textContent: `Cell ${number}` });
    link.addEventListener("click", (event) => {
      event.preventDefault();
      event.stopPropagation(); // the browser would scroll to the top of the cell, not to its error
      if (fold) fold.open = true;
      (shown.result?.element ?? button).scrollIntoView({ block: "center" });
      button.focus({ preventScroll: true });
    });
    const cause = edited === null && this.all.findLast((cell) => cell.number < number && cell.edited !== null);
    const note = cause ? `. You have edited cell ${cause.number}` : "";
    this.shown.blocked = true;
    this.tell(link, ` above failed, so this cell did not run${note}`);
  }

  fail(text) {
    const stays = this.stored.length && (!this.shown.result || this.shown.result.failed) ? " The stored output stays." : "";
    this.tell(`${text.replace(/[^.?!]$/, "$&.")}${stays}`);
    this.status.note.classList.add("failed");
  }

  // What is going on, for a while.
  say(...content) {
    hideProgress(this.bar);
    this.told = false;
    this.status.set(...content);
  }

  // How it ended, which stays until the next run.
  tell(...content) {
    this.say(...content);
    this.told = true;
    const left = this.frame.isConnected ? "" : " of the page you left";
    announcer().textContent = `Cell ${this.number}${left}. ${this.status.note.textContent}`;
  }

  // ---- editing -----------------------------------------------------------------------------------------------------

  showText() {
    if (this.edited === null) this.code.innerHTML = this.html;
    else this.showEdit(this.edited);
    this.mark();
  }

  // The colors come with the editor, a moment later.
  async showEdit(code) {
    this.code.textContent = `${code}\n`;
    const { color } = await import("./editing.js");
    const colored = await color(`${code}\n`).catch(() => null);
    if (colored && this.edited === code) this.code.replaceChildren(colored);
  }

  mark() {
    this.frame.classList.toggle("edited", this.edited !== null);
    this.reset.hidden = this.edited === null;
    this.setChecks(this.checks);
    this.shown.update();
  }

  async openEditor() {
    if (this.editor) return this.editor.focus();
    this.edit.disabled = this.reset.disabled = true; // the editor opens with the code of now
    try {
      const { edit } = await import("./editing.js");
      this.editor = await edit(this.block, {
        id: `cell-help-${this.number}`,
        help: `${RUN_KEY} runs. Tab indents; Escape, then Tab, leaves.`,
        code: this.text,
        label: `Code of cell ${this.number}`,
        complete: (code, cursor) => (backend ? backend.complete(this.page, code, cursor) : { from: cursor, names: [] }),
        onRun: () => this.start(),
        onChange: (code) => this.change(code),
      });
      this.edit.hidden = true;
      this.editor.focus();
    } catch (error) {
      this.tell(`The editor could not be loaded. ${error.message}`);
      this.status.note.classList.add("failed");
    } finally {
      this.edit.disabled = this.reset.disabled = false;
    }
  }

  change(code) {
    this.edited = code === this.source ? null : code;
    this.models = this.usual;
    keepEdit(this.key, this.edited);
    this.mark();
    this.told &&= this.running;
    hintAll();
  }

  restore() {
    this.editor?.close();
    this.editor = null;
    this.edit.hidden = false;
    this.change(this.source);
    this.showText();
    this.edit.focus();
  }
}

// One place for what screen readers are told of how a run ended; progress.js has another for what is loading.
function announcer() {
  let box = document.getElementById("cell-announcer");
  if (!box) {
    box = make("div", { id: "cell-announcer" });
    box.setAttribute("role", "status");
    document.querySelector("article").append(box);
  }
  return box;
}

// ---- the page -----------------------------------------------------------------------------------------------------

let cells = []; // of the page that is shown; a run that goes on after it holds its own

function hintAll() {
  for (const cell of cells.filter(({ running }) => !running)) {
    cell.showButtons();
    if (!cell.told) cell.status.hint(where());
  }
}

async function lookAtModels() {
  hintAll();
  await look();
  hintAll();
}

function buildPage() {
  if (location.protocol === "file:") return; // browsers start no worker from a file
  const page = pageName();
  cells = [];
  const blocks = [...document.querySelectorAll("[data-cell]")].sort((a, b) => a.dataset.cell - b.dataset.cell);
  for (const block of blocks) cells.push(new Cell(block, page, cells));
  lookAtModels();
  if (cells.length) announcer(); // a live region has to stand there before it speaks
}

let building;

// The theme emits on document$ at load and again after each instant navigation, and is long at work itself.
document$.subscribe(() => {
  clearTimeout(building);
  building = setTimeout(buildPage);
});

addEventListener("llmguide:fetched", hintAll);
