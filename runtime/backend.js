// Where the code of this visit runs, behind the functions that protocol.md names. One back end a visit: it outlives
// instant navigation. It starts with the first run, or before it, when early_start.js sees that a run is likely.

import { hasKernel, VISIT_NEEDS } from "./page.js";

const NAMES_LOST = "lost";
const NEEDS = ["core", "torch", "figure"]; // each holds what the one before it holds
const AGAIN = 250; // ms after which a run is interrupted once more: Python drops what falls into a callback
const COMPLETION_PATIENCE = 500; // ms after which a list of names comes too late to be of use

let connection = null; // {send, interrupt, close, patience} of the living back end
let opening = null; // the promise of it
let ready = false; // Python has started: before, there are no names to lose
let interruptible = true; // the worker can be stopped and keep its names
let stage = null; // the last message about loading, for a run that comes while it goes on
let kind = "tab";
let current = null; // the run that is going on
let waiting = [];
let nextId = 1;
const asked = new Map(); // completions that have no answer yet, by id
const watchers = new Set();

// ---- back ends -----------------------------------------------------------------------------------------------------

// The kernel answers only a page that `llmguide serve` opened; local_kernel.js is not even fetched otherwise.
async function open() {
  if (hasKernel()) {
    const kernel = await (await import("./local_kernel.js")).open(receive);
    if (kernel) {
      kind = "kernel";
      return kernel;
    }
  }
  kind = "tab";
  return openWorker();
}

const newAddress = () => URL.createObjectURL(new Blob());

function openWorker() {
  const worker = new Worker(new URL("worker.mjs", import.meta.url), { type: "module" });
  let address = null; // of the run that the worker has; to revoke it stops the run: interrupts.mjs
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => {
    event.preventDefault();
    receive({ type: "failed", text: `Python could not start. ${event.message || "The worker could not be loaded."}` });
  };
  worker.postMessage({ type: "start", address: newAddress() }); // never revoked, so that the worker can try whether it may ask
  return {
    patience: 1000, // ms that an interrupted run may take to answer; a long numpy call does not hear
    send(message) {
      if (message.type === "run") {
        URL.revokeObjectURL(address); // of the run before
        message = { ...message, address: (address = newAddress()) };
      }
      worker.postMessage(message);
    },
    interrupt(started) {
      URL.revokeObjectURL(address);
      worker.postMessage({ type: "interrupt" });
      return interruptible || !started;
    },
    close: () => worker.terminate(),
  };
}

async function connect() {
  const opened = (opening ??= open());
  try {
    const found = await opened;
    if (opened === opening) return (connection = found);
    found.close(); // a stop came first
  } catch (error) {
    if (opened === opening) end(error.message);
  }
  return null;
}

function end(reason, { stopped = false } = {}) {
  connection?.close();
  connection = opening = null;
  ready = false;
  stage = null;
  for (const answer of asked.values()) answer({ from: 0, names: [] });
  asked.clear();
  const dropped = [current, ...waiting].filter(Boolean);
  current = null;
  waiting = [];
  for (const callback of watchers) callback(NAMES_LOST);
  for (const job of dropped) finish(job, { error: reason, stopped, lost: true });
}

// ---- messages ------------------------------------------------------------------------------------------------------

const HANDLERS = {
  loading: (job, { text, loaded, total }) => job.onLoading?.(text, total ? { loaded, total } : null),
  started: (job) => {
    stage = null;
    job.result.started = true;
    job.onStart?.();
    rememberNeeds(job.message.needs);
    if (job.stopping) interrupt(job); // again: a kernel need not hear before the code of a run
  },
  output(job, { text, stream }) {
    job.result[stream] += text;
    job.onOutput?.(text, stream);
  },
  figure(job, { svg, alt, caption }) {
    job.result.figures.push({ svg, alt, caption });
    job.onFigure?.({ svg, alt, caption });
  },
  data(job, { value }) {
    job.result.data.push(value);
    job.onData?.(value);
  },
  checks(job, { checks }) {
    job.result.checks = checks;
  },
  note(job, { text }) {
    job.result.note = text;
  },
  error(job, { text, interrupted, models }) {
    job.result.error = text;
    job.result.stopped = interrupted;
    job.result.models = models;
  },
  done(job, { seconds }) {
    current = stage = null;
    job.keeping.then(() => finish(job, { seconds }));
    next();
  },
};

function receive(message) {
  if (message.type === "failed") return end(message.text);
  if (message.type === "ready") {
    ready = true;
    interruptible = message.interruptible ?? true;
  }
  if (message.type === "loading") stage = message;
  if (message.type === "prepared") stage = null;
  if (message.type === "kept") {
    const keeping = keepFile(message, current);
    if (current) current.keeping = current.keeping.then(() => keeping);
    return;
  }
  if (message.type === "completions") {
    asked.get(message.id)?.({ from: message.from, names: message.names });
    asked.delete(message.id);
    return;
  }
  if (current && (message.id === undefined || message.id === current.message.id)) {
    HANDLERS[message.type]?.(current, message);
  }
}

// A run goes on without storage; at its end, which waits for its files, it says so.
async function keepFile(file, job) {
  const stored = await import("./kept_files.mjs").then(({ keep }) => keep(file)).catch(() => false);
  if (!stored && job) job.result.note = "This browser could not store the run: it ends with this tab.";
}

function finish(job, changes) {
  Object.assign(job.result, changes);
  job.result.ok = !job.result.error;
  job.resolve(job.result);
}

async function next() {
  if (current || !waiting.length) return;
  const job = (current = waiting.shift());
  if (stage) HANDLERS.loading(job, stage);
  const connected = await connect();
  if (current === job) connected?.send(job.message);
}

// In the next page, early_start.js starts what this visit has needed so far.
function rememberNeeds(needs) {
  if (kind !== "tab") return;
  try {
    const before = sessionStorage.getItem(VISIT_NEEDS);
    if (NEEDS.indexOf(needs) > NEEDS.indexOf(before)) sessionStorage.setItem(VISIT_NEEDS, needs);
  } catch {} // storage is switched off
}

function interrupt(job) {
  job.stopping = true;
  if (!connection.interrupt(job.result.started)) end("Stopped.", { stopped: true });
}

// ---- what pages call -----------------------------------------------------------------------------------------------

export function run(code, /** @type {Record<string, any>} */ { scope = "page", name = "code", needs = "torch", kind = "run", draw = true, page = "", inputs, agreed, ...hooks } = {}) {
  const id = nextId++;
  const result = { ok: false, started: false, stopped: false, lost: false, seconds: 0 };
  Object.assign(result, { stdout: "", stderr: "", markdown: "", error: "", data: [], figures: [], checks: [] });
  const message = { type: "run", id, scope, code, name, needs, kind, draw, page, inputs: inputs ?? {}, agreed };
  let resolve;
  const over = new Promise((end) => (resolve = end));
  waiting.push({ message, result, over, resolve, keeping: Promise.resolve(), ...hooks });
  next();
  return over;
}

// Starts Python and loads what a run with these needs will want, before there is one.
export async function prepare(needs) {
  (await connect())?.send({ type: "prepare", needs });
}

export async function stop() {
  const job = current;
  for (const dropped of waiting.splice(0)) finish(dropped, { error: "Stopped.", stopped: true });
  if (!job) return true;
  for (let waited = 0; ready && current === job && waited < connection.patience; waited += AGAIN) {
    interrupt(job);
    await Promise.race([job.over, new Promise((late) => setTimeout(late, AGAIN))]);
  }
  if (current === job) end("Stopped.", { stopped: true });
  return !job.result.lost;
}

export async function complete(scope, code, cursor) {
  const nothing = { from: cursor, names: [] };
  if (!connection || current) return nothing;
  const id = nextId++;
  return new Promise((resolve) => {
    asked.set(id, resolve);
    setTimeout(() => asked.delete(id) && resolve(nothing), COMPLETION_PATIENCE);
    connection.send({ type: "complete", id, scope, code, cursor });
  });
}

export function reset(scope) {
  connection?.send({ type: "reset", scope });
}

export function watch(callback) {
  watchers.add(callback);
  return () => watchers.delete(callback);
}

export const where = () => kind;
