// Gives each cell of a page its buttons. Without it the page is complete: code, and the output that was stored with it.
// Nothing of Python is fetched before a reader presses Run, and nothing of the editor before Edit.

import { keepEdit, keyOf, readEdit } from "./edits.js";
import { hasKernel, make } from "./page.js";

const IDLE = "Run", BUSY = "Stop";
const LONG = 5; // seconds; a reader wants to know of a longer wait beforehand
const KINDS = ["table", "figure", "raises"];

const done = new Map(); // page: the numbers of the cells whose names the back end holds
let backend = null; // the module, once it was needed
let output = null;
const loaded = new Set(); // the parts of Python that this visit has fetched already
let turn = Promise.resolve(); // readers may press Run on a second cell while the first one runs
let active = null; // the cell that runs

const base = new URL("..", import.meta.url).pathname;
const pageName = () =>
  location.pathname.slice(base.length).replace(/(?:\/|\/?index\.html|\.html)$/, "") || "index";

const seconds = (value) => (value < 0.005 ? "under 0.01 s" : `${value.toFixed(value < 0.095 ? 2 : 1)} s`);
const place = () => (backend?.where() === "kernel" || hasKernel() ? "on your machine" : "in your tab");
const capital = (text) => text[0].toUpperCase() + text.slice(1);

async function load() {
  if (backend) return;
  [backend, output] = await Promise.all([import("./backend.js"), import("./output.js")]);
  backend.watch(() => {
    done.clear();
    for (const cell of cells) cell.hint();
  });
}

// ---- one cell -----------------------------------------------------------------------------------------------------

class Cell {
  constructor(block, page, all) {
    const { cell, needs, loads, seconds, secondsTab, reason } = block.dataset;
    Object.assign(this, { block, page, all, needs, reason, number: Number(cell) });
    this.loads = new Map(loads?.split(" ").map((part) => part.split(":"))); // each part, and its megabytes
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
    this.markdown = this.stored.flatMap((element) => (element.matches(".stored") ? JSON.parse(element.textContent) : [])).join("\n\n");
    this.result = null;
    this.build();
  }

  get text() {
    return this.edited ?? this.source;
  }

  build() {
    this.button = make("button", { type: "button", className: "cell-run", textContent: IDLE });
    this.button.addEventListener("click", () => (this.running ? this.stop() : this.start()));
    this.edit = make("button", { type: "button", textContent: "Edit" });
    this.edit.addEventListener("click", () => this.openEditor());
    this.reset = make("button", { type: "button", textContent: "Reset", title: "Back to the code of the guide" });
    this.reset.addEventListener("click", () => this.restore());
    this.note = make("span", { className: "cell-note" });
    for (const [button, verb] of [[this.button, "Run"], [this.edit, "Edit"], [this.reset, "Reset"]]) {
      button.setAttribute("aria-label", `${verb} cell ${this.number}`);
    }
    const runs = this.needs !== "local" || hasKernel();
    this.bar = make("div", { className: "cell-bar" }, ...(runs ? [this.button, this.edit, this.reset] : []), this.note);
    const frame = make("div", { className: "cell" });
    this.block.replaceWith(frame);
    frame.append(this.block, this.bar);
    if (!this.fold) frame.append(...this.stored);
    frame.addEventListener("keydown", (event) => {
      if (runs && event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.defaultPrevented) {
        event.preventDefault();
        this.start();
      }
    });
    this.frame = frame;
    if (this.edited === null) this.reset.hidden = true;
    else this.showText();
  }

  // Where this cell runs, what that takes, and what else pressing Run does.
  hint() {
    if (this.running) return;
    const how = this.needs === "torch" || this.needs === "figure" ? "with PyTorch on one CPU core" : "on one CPU core";
    const measured = this.seconds === null ? [] : [`${seconds(this.seconds)} ${how}`];
    if (this.needs === "local" && !hasKernel()) {
      this.note.textContent = [`Runs on your machine with llmguide serve, not in the tab: ${this.reason}`, ...measured].join(" · ");
      return;
    }
    const parts = [`Runs ${place()}`, ...measured];
    const megabytes = [...this.loads].reduce((sum, [part, size]) => sum + (loaded.has(part) ? 0 : Number(size)), 0);
    if (!hasKernel() && megabytes) parts.push(`loads ${megabytes.toFixed(1)} MB once`);
    const above = this.above();
    if (above.length) parts.push(`runs the ${above.length === 1 ? "cell" : `${above.length} cells`} above first`);
    const wait = [...above, this].reduce((sum, cell) => sum + cell.secondsTab, 0);
    if (!hasKernel() && wait >= LONG) parts.push(`takes ${Math.round(wait)} s or more`);
    this.note.textContent = parts.join(" · ");
  }

  // The cells above whose names are not there, in order.
  above() {
    const known = done.get(this.page) ?? new Set();
    return this.all.filter((cell) => cell.number < this.number && !known.has(cell.number) && (cell.needs !== "local" || hasKernel()));
  }

  // ---- running -----------------------------------------------------------------------------------------------------

  start() {
    if (this.running) return;
    this.running = true;
    this.cancelled = false;
    this.setButton(BUSY);
    const left = active && !active.frame.isConnected;
    this.say(`Waiting for ${left ? "a cell of a page that you left; Stop ends both" : "another cell"}`);
    const order = (this.order = {}); // a reader may stop to wait, and press Run again before the turn comes
    const mine = () => this.order === order;
    turn = turn.then(() => mine() && this.run()).catch((error) => this.fail(error.message)).finally(() => mine() && this.end());
  }

  end() {
    this.order = null;
    this.running = false;
    this.setButton(IDLE);
    for (const cell of cells) if (!cell.said) cell.hint();
  }

  setButton(label) {
    this.button.textContent = label;
    this.button.setAttribute("aria-label", `${label} cell ${this.number}`);
    this.frame.classList.toggle("running", label === BUSY);
  }

  async stop() {
    if (active === this) {
      this.cancelled = true;
      this.say("Stopping");
      return backend?.stop();
    }
    this.end();
    this.say("Stopped", { announce: true });
    if (active && !active.frame.isConnected) await active.stop(); // its button went with its page
  }

  async run() {
    active = this;
    try {
      this.say("Starting");
      await load();
      if (this.cancelled) return this.say("Stopped", { announce: true });
      // What is loaded below is enough above; figures above are not drawn, which spares readers matplotlib.
      const above = { needs: this.needed(), draw: false, onLoading: (text) => this.say(text) };
      for (const cell of this.above()) {
        const result = await cell.execute({ ...above, onStart: () => this.say(`Running cell ${cell.number} first`) });
        if (!result.ok && !result.stopped && result.started && cell.kind !== "raises") {
          await cell.show(result);
          return this.say(`Cell ${cell.number} above failed, so that this one did not run`, { announce: true });
        }
        if (!result.started || result.stopped) return await this.show(result);
        if (this.cancelled) return this.say("Stopped. The names are kept", { announce: true }); // it was done all the same
      }
      const own = { onLoading: above.onLoading, onStart: () => this.say("Running"), ...this.stream() };
      const result = await this.execute(own);
      if (result.started) for (const part of this.loads.keys()) loaded.add(part);
      await this.show(result);
    } finally {
      active = null;
    }
  }

  async execute(hooks) {
    const kind = this.edited === null || this.kind !== "raises" ? this.kind : "run";
    const { page, number } = this;
    const result = await backend.run(this.text, { scope: page, page, name: `cell ${number}`, kind, needs: this.needed(), ...hooks });
    if (result.ok || (kind === "raises" && result.started && !result.stopped)) {
      if (!done.has(page)) done.set(page, new Set());
      done.get(page).add(number);
    }
    return result;
  }

  // An edit may import what the cell did not need before.
  needed() {
    const { needs, edited } = this;
    if (edited === null) return needs;
    if (edited.includes("matplotlib")) return "figure";
    return needs === "core" && /\b(?:torch|numpy|llmguide)\b/.test(edited) ? "torch" : needs;
  }

  // Text appears while the code prints it, at most once a frame.
  stream() {
    let text = "", pending = 0;
    const draw = () => {
      pending = 0;
      this.place([output.textBlock(text)]);
    };
    return {
      onOutput: (more, stream) => {
        if (stream === "markdown") return;
        text += more;
        pending ||= requestAnimationFrame(draw);
        this.endStream = () => cancelAnimationFrame(pending);
      },
    };
  }

  async show(result) {
    this.endStream?.();
    if (!result.started) return this.fail(result.stopped ? "Stopped" : result.error, result.stopped);
    const { blocks, verdict, equal } = output.render(result, this);
    if (!blocks.length && this.stored.length) blocks.push(make("p", { className: "cell-empty", textContent: "Nothing was printed." }));
    if (blocks.length) this.place(blocks, { equal });
    if (result.stopped) {
      const names = result.lost ? "gone: the next run starts with the first cell" : "kept";
      return this.say(`Stopped. The names are ${names}`, { announce: true });
    }
    this.say(`${capital(place())}, ${seconds(result.seconds)}${verdict}`, { announce: true });
  }

  // Puts the result where the stored output stands; a button brings the stored one back.
  place(blocks, { equal = false } = {}) {
    const shown = this.result ?? this.stored;
    const label = make("div", { className: "cell-label" }, make("span", { textContent: `Output ${place()}` }));
    const result = [make("div", { className: "cell-result" }, label, ...blocks)];
    if (this.stored.length && !equal) {
      const back = make("button", { type: "button", textContent: "Show the stored output" });
      back.addEventListener("click", () => this.swap(result, this.stored));
      label.append(back);
    }
    this.swap(shown, result);
    for (const box of result[0].querySelectorAll("pre > code")) if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }

  swap(from, to) {
    const focused = from.some((element) => element.contains(document.activeElement));
    if (from.length) from[0].before(...to);
    else if (this.fold) this.fold.before(...to);
    else this.frame.append(...to);
    for (const element of from) element.remove();
    this.result = to === this.stored ? null : to;
    if (focused) this.button.focus();
  }

  fail(text, stopped = false) {
    this.say(stopped ? text : `${text} The stored output stays.`, { announce: true, failed: !stopped });
  }

  say(text, { announce = false, failed = false } = {}) {
    this.said = announce;
    this.note.textContent = text;
    this.note.classList.toggle("failed", failed);
    if (announce) announcer().textContent = `Cell ${this.number}. ${text}`;
  }

  // ---- editing -----------------------------------------------------------------------------------------------------

  showText() {
    if (this.edited === null) this.code.innerHTML = this.html;
    else this.code.textContent = `${this.edited}\n`;
    this.frame.classList.toggle("edited", this.edited !== null);
    this.reset.hidden = this.edited === null;
  }

  async openEditor() {
    if (this.editor) return this.editor.focus();
    this.edit.disabled = true;
    try {
      const { edit } = await import("./editing.js");
      this.editor = await edit(this.block, {
        id: `cell-help-${this.number}`,
        help: "Ctrl-Enter runs. Tab indents; Escape, then Tab, leaves.",
        code: this.text,
        label: `Code of cell ${this.number}`,
        complete: (code, cursor) => (backend ? backend.complete(this.page, code, cursor) : { from: cursor, names: [] }),
        onRun: () => this.start(),
        onChange: (code) => this.change(code),
      });
      this.edit.hidden = true;
      this.editor.focus();
    } catch (error) {
      this.say(`The editor could not be loaded. ${error.message}`, { announce: true, failed: true });
    } finally {
      this.edit.disabled = false;
    }
  }

  change(code) {
    this.edited = code === this.source ? null : code;
    keepEdit(this.key, this.edited);
    this.frame.classList.toggle("edited", this.edited !== null);
    this.reset.hidden = this.edited === null;
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

// The output of a run fence follows it; that of a table or figure stands before its folded code, after its Markdown.
function storedAfter(block) {
  const next = block.nextElementSibling;
  return next?.matches(".highlight.output") ? [next] : [];
}

function storedBefore(fold, kind) {
  const last = kind === "table" ? "script.stored" : "figure";
  const found = [];
  for (let element = fold.previousElementSibling; element; element = element.previousElementSibling) {
    found.unshift(element);
    if (element.matches(last)) return found;
  }
  return [];
}

// One place for what screen readers are told: what is loading stays silent, how a run ended does not.
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

function buildPage() {
  if (location.protocol === "file:") return; // browsers start no worker from a file
  const page = pageName();
  cells = [];
  const blocks = [...document.querySelectorAll("[data-cell]")].sort((a, b) => a.dataset.cell - b.dataset.cell);
  for (const block of blocks) cells.push(new Cell(block, page, cells));
  for (const cell of cells) cell.hint();
  if (cells.length) announcer(); // a live region has to stand there before it speaks
}

let building;

// The theme emits on document$ at load and again after each instant navigation, and is long at work itself.
document$.subscribe(() => {
  clearTimeout(building);
  building = setTimeout(buildPage);
});
