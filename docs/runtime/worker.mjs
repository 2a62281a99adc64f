// Python in the reader's tab: starts Pyodide, loads what a run needs, and hands messages to session.py.

import { addKernels, withMemory } from "./kernels.mjs";

const VENDOR = new URL("../assets/vendor/", import.meta.url);
const STEPS = ["core", "torch", "figure"]; // each holds what the one before it holds

let started; // resolves to the function that hands a message to the session
const loaded = new Set(); // archives, by the name of the first that comes with it
let queue = Promise.resolve();
let loading = new AbortController(); // of what the next run waits for

const post = (message) => self.postMessage(message);

// In words that a reader can act on: which file, and what is wrong with it.
async function get(url, { what, integrity, signal } = {}) {
  const name = what ?? url.pathname.split("/").pop();
  let response;
  try {
    response = await fetch(url, { integrity, signal });
  } catch {
    signal?.throwIfAborted();
    // The browser gives one error for "no answer" and for "not the file that was asked for".
    response = integrity && (await fetch(url).catch(() => null));
    if (!response) throw new Error(`${name} could not be fetched from ${url.host}. Is there a connection?`);
    if (response.ok) throw new Error(`${name} was refused: the file is damaged, or not the one that Pyodide names.`);
  }
  if (!response.ok) throw new Error(`${name} could not be fetched: ${url.host} answers ${response.status}.`);
  return response;
}

const toBase64 = (hex) => btoa(String.fromCharCode(...hex.match(/../g).map((pair) => parseInt(pair, 16))));

async function start(interrupts) {
  const runtime = await (await get(new URL("runtime.json", VENDOR), { what: "The list of files" })).json();
  post({ type: "loading", text: `Loading Python (${runtime.steps.core.megabytes} MB)` });
  const indexURL = new URL(runtime.pyodide, VENDOR).href;
  const guide = get(new URL(runtime.guide, VENDOR), { what: "The guide's own code" });
  const { loadPyodide } = await import(`${indexURL}pyodide.mjs`);
  const { pyodide, memory } = await withMemory(() =>
    loadPyodide({ indexURL, env: { HOME: "/home/pyodide", MPLBACKEND: "svg" } }),
  );
  pyodide.unpackArchive(await (await guide).arrayBuffer(), "zip", { extractDir: "/guide" });
  const products = "/guide/torch/array_matmul.wasm";
  await addKernels(pyodide, memory, pyodide.FS.readFile(products));
  pyodide.globals.set("post_json", (text) => post(JSON.parse(text)));
  pyodide.globals.set("check_interrupt", () => pyodide.checkInterrupt());
  const handle = pyodide.runPython(`
import json, signal, sys, time
sys.path.insert(0, "/guide")
import session
_session = session.Session(lambda message: post_json(json.dumps(message)))
signal.signal(signal.SIGINT, _session.interrupt)

def sleep(seconds, _sleep=time.sleep):
    """Sleep in slices: Pyodide's own sleep hears no stop."""
    end = time.monotonic() + seconds
    while seconds > 0.02:
        _sleep(0.02)
        check_interrupt()
        seconds = max(end - time.monotonic(), 0)
    _sleep(seconds)

time.sleep = sleep
lambda text: _session.handle(json.loads(text))
`);
  if (interrupts) pyodide.setInterruptBuffer(interrupts);
  post({ type: "ready" });

  return async function answer(message) {
    if (message.type === "run") await load(pyodide, runtime, message);
    try {
      handle(JSON.stringify(message));
    } catch (error) {
      // The session catches all that Python raises: this is the end of Pyodide itself.
      post({ type: "failed", text: `Python has crashed (${error?.message ?? error}), and all names are gone. Run again to start anew.` });
    }
  };
}

async function load(pyodide, runtime, { needs, code }) {
  loading = new AbortController();
  const { signal } = loading;
  const steps = STEPS.slice(1, STEPS.indexOf(needs) + 1).map((step) => runtime.steps[step]);
  const asked = runtime.extras.filter(({ pattern }) => new RegExp(pattern).test(code));
  for (const { megabytes, wheels } of [...steps, ...asked]) {
    if (loaded.has(wheels[0].name)) continue;
    const hosts = new Set(wheels.map(({ url }) => new URL(url, VENDOR).host).filter((host) => host !== location.host));
    const from = hosts.size ? ` from ${[...hosts].join(" and ")}` : "";
    post({ type: "loading", text: `Loading ${wheels[0].name} (${megabytes} MB)${from}` });
    const archives = await Promise.all(
      wheels.map(async ({ name, url, sha256 }) => {
        const integrity = `sha256-${toBase64(sha256)}`;
        return (await get(new URL(url, VENDOR), { what: `The package ${name}`, integrity, signal })).arrayBuffer();
      }),
    );
    for (const archive of archives) pyodide.unpackArchive(archive, "wheel", { extractDir: "/guide" });
    loaded.add(wheels[0].name);
  }
}

async function receive(message) {
  if (message.type === "start") {
    started = start(message.interrupts);
    await started.catch((error) => post({ type: "failed", text: `Python could not start. ${error.message}` }));
    return;
  }
  try {
    await (await started)(message);
  } catch (error) {
    if (message.type !== "run") return;
    const stopped = error.name === "AbortError";
    post({ type: "error", id: message.id, text: stopped ? "Stopped." : error.message, interrupted: stopped });
    post({ type: "done", id: message.id, seconds: 0 });
  }
}

// One message at a time, in order: loading is asynchronous, and the next must not overtake it. A stop does.
self.onmessage = ({ data }) => {
  if (data.type === "interrupt") loading.abort();
  else queue = queue.then(() => receive(data));
};
