// Python in the reader's tab: starts Pyodide, loads what a run needs, and hands messages to session.py.

import { place, readTar, readZip } from "./archives.mjs";
import { Downloads } from "./downloads.mjs";
import { Interrupts, isGood } from "./interrupts.mjs";
import { restoreFiles, watchFiles } from "./kept_files.mjs";
import { addKernels, withMemory } from "./kernels.mjs";
import { megabytes, missingFiles, provide as provideModel, readAhead } from "./model_storage.mjs";
import { bytecodeOf, drop, find, keep } from "./python_memory.mjs";

const VENDOR = new URL("../assets/vendor/", import.meta.url);
const STEPS = ["core", "torch", "figure"]; // each holds what the one before it holds
// What numpy, torch's subset and the guide import, as far as it is Python alone.
const SNAPSHOT_IMPORTS =
  "ctypes, email.parser, gzip, importlib.metadata, jinja2.sandbox, multiprocessing, pickle, platform, secrets, shlex, statistics, tarfile, tomllib, unittest.mock";
const [GUIDE, BYTECODE] = ["/guide", "/bytecode"]; // folders
const REST = 500; // ms without a message after which new bytecode is kept
const OPTIONS = { env: { HOME: "/home/pyodide", MPLBACKEND: "svg" } };

let runtime; // resolves to what runtime.json lists
let memory; // while Python starts, a promise of that of an earlier start, or of undefined
let ready = false; // Python has started
let started; // resolves to the function that hands a message to the session, and to one that hashes
const fetched = new Map(); // packages, by the name of the first that comes with it: promises of their files
const unpacked = new Set();
let filesRestored; // resolves when the files that outlive the tab are there
let queue = Promise.resolve();
let stopped = new AbortController(); // of the packages that are being fetched

const post = (message, transfer = []) => self.postMessage(message, { transfer });
const downloads = new Downloads((names, progress) => {
  if (names.length) post({ type: "loading", text: `Loading ${names.join(" and ")}`, ...progress });
  else if (!ready) post({ type: "loading", text: "Starting Python" });
});

// In words that a reader can act on: which file, and what is wrong with it.
async function get(url, what, signal, options) {
  let response;
  try {
    response = await fetch(url, { signal, ...options });
  } catch {
    signal?.throwIfAborted();
    throw new Error(`${what} could not be fetched from ${url.host}. Is there a connection?`);
  }
  if (!response.ok) throw new Error(`${what} could not be fetched: ${url.host} answers ${response.status}.`);
  return response;
}

async function read(response, what, signal, as = "arrayBuffer") {
  try {
    return await response[as]();
  } catch {
    signal?.throwIfAborted();
    throw new Error(`${what} broke off on its way. Is there a connection?`);
  }
}

// ---- starting ------------------------------------------------------------------------------------------------------

// Pyodide fetches its files itself, and starts Python as soon as it has them: a long step, which would hold up the count.
async function whileCounting(packed, load) {
  const { fetch } = self;
  const { instantiateStreaming } = WebAssembly;
  const counts = [];
  self.fetch = async (url, options) => {
    const response = await fetch(url, options);
    const share = packed[String(url).split("/").pop()];
    if (share && response.ok) counts.push(downloads.count("Python", response, share));
    return response;
  };
  WebAssembly.instantiateStreaming = async (...given) => {
    const instantiated = await instantiateStreaming(...given);
    await Promise.all(counts);
    return instantiated;
  };
  try {
    return await load();
  } finally {
    self.fetch = fetch;
    WebAssembly.instantiateStreaming = instantiateStreaming;
  }
}

const keyOf = ({ pyodide, guide }) => new URL(pyodide, VENDOR).href + guide;

// Of the modules that an earlier start imported.
async function readBytecode(key) {
  try {
    return await readZip(await (await find(bytecodeOf(key))).arrayBuffer());
  } catch {
    return []; // none, or damaged
  }
}

async function load(loadPyodide, indexURL, isKept) {
  if (isKept) {
    try {
      return { ...(await withMemory(() => loadPyodide({ ...OPTIONS, indexURL, _loadSnapshot: memory }))), restored: true };
    } catch {
      await drop(); // damaged
    }
  }
  return withMemory(() => loadPyodide({ ...OPTIONS, indexURL, _makeSnapshot: true }));
}

async function start(address) {
  runtime = get(new URL("runtime.json", VENDOR), "The list of files").then((response) => response.json());
  const kept = runtime.then((listed) => find(keyOf(listed)));
  memory = kept.then((response) => response?.arrayBuffer());
  memory.catch(() => {}); // who waits for it is told
  const { pyodide: folder, guide, steps } = await runtime;
  const { megabytes, packed } = steps.core;
  downloads.expect("Python", megabytes, Object.keys(packed).length);
  const indexURL = new URL(folder, VENDOR).href;
  const key = keyOf(await runtime);
  const bytecode = readBytecode(key);
  const { pyodide, memory: wasmMemory, restored } = await whileCounting(packed, async () => {
    const what = "The guide's own code";
    const files = get(new URL(guide, VENDOR), what).then((response) => read(response, what)).then(readTar);
    const { loadPyodide } = await import(`${indexURL}pyodide.mjs`);
    const found = await load(loadPyodide, indexURL, await kept);
    place(found.pyodide.FS, await files, GUIDE);
    return found;
  });
  memory = undefined;
  const compiled = await bytecode;
  place(pyodide.FS, compiled, BYTECODE);
  if (!restored) {
    pyodide.runPython(`import sys; sys.path.insert(0, "${GUIDE}"); import bytecode, session, ${SNAPSHOT_IMPORTS}`);
    const content = pyodide.makeMemorySnapshot();
    drop().then(() => keep(key, content)); // of other versions
  }
  await addKernels(pyodide, wasmMemory, pyodide.FS.readFile(`${GUIDE}/torch/kernels.wasm`));
  watchFiles(pyodide.FS, (file) => post({ type: "kept", ...file }, file.content ? [file.content.buffer] : []));
  pyodide.globals.set("post_json", (text) => post(JSON.parse(text)));
  pyodide.globals.set("check_interrupt", () => pyodide.checkInterrupt());
  const [handle, hash, pack] = pyodide.runPython(`
import bytecode, hashlib, json, random, session, signal, sys, time
bytecode.keep_apart("${BYTECODE}")
random.seed()  # not the state of the snapshot
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
(lambda text: _session.handle(json.loads(text)), lambda data: hashlib.sha256(data.to_py()).hexdigest(),
 lambda n: bytecode.pack("${GUIDE}", more_than=n))
`);
  const interrupts = isGood(address) ? new Interrupts() : null;
  if (interrupts) pyodide.setInterruptBuffer(interrupts);
  ready = true;
  post({ type: "ready", interruptible: Boolean(interrupts) });

  let timer;
  let nCompiled = compiled.length;
  function keepBytecode() {
    try {
      const packed = pack(nCompiled);
      if (!packed) return;
      const [n, archive] = packed;
      nCompiled = n;
      keep(bytecodeOf(key), archive.toJs());
      for (const proxy of [archive, packed]) proxy.destroy();
    } catch {} // the reader's code may have changed anything
  }

  async function answer(message) {
    clearTimeout(timer);
    if (message.type === "prepare") return prepare(pyodide, message);
    if (message.type === "run") {
      await provide(pyodide, message);
      await provideModels(pyodide, message);
      if (/\bkept_folder\b/.test(message.code)) await (filesRestored ??= restoreFiles(pyodide.FS));
    }
    interrupts?.watch(message.address);
    try {
      handle(JSON.stringify(message));
    } catch (error) {
      // The session catches all that Python raises: this is the end of Pyodide itself.
      await drop(); // in case that it comes from what is kept
      post({ type: "failed", text: `Python has crashed (${error?.message ?? error}), and all names are gone. Run again to start anew.` });
    } finally {
      interrupts?.watch(null);
    }
    timer = setTimeout(keepBytecode, REST);
  }
  return { answer, hash };
}

// ---- packages ------------------------------------------------------------------------------------------------------

// What a run needs beside Python itself.
async function needed({ needs, code = "" }) {
  const { steps, extras } = await runtime;
  const asked = extras.filter(({ pattern }) => new RegExp(pattern).test(code));
  return [...STEPS.slice(1, STEPS.indexOf(needs) + 1).map((step) => steps[step]), ...asked];
}

// Fetches a package once, unless it fails or is stopped.
function fetchPackage({ megabytes, wheels }) {
  const [{ name }] = wheels;
  if (!fetched.has(name)) {
    const files = fetchFiles(name, megabytes, wheels);
    files.catch(() => fetched.delete(name));
    fetched.set(name, files);
  }
  return fetched.get(name);
}

// Resolves to the files of each archive or, where only Python can unpack it, the archive.
async function fetchFiles(label, megabytes, wheels) {
  const { signal } = stopped;
  const hosts = new Set(wheels.map(({ url }) => new URL(url, VENDOR).host).filter((host) => host !== location.host));
  const shown = hosts.size ? `${label} from ${[...hosts].join(" and ")}` : label;
  downloads.expect(shown, megabytes ?? 0, wheels.length);
  try {
    return await Promise.all(
      wheels.map(async ({ name, url, sha256 }) => {
        const what = `The package ${name}`;
        const response = await get(new URL(url, VENDOR), what, signal);
        downloads.count(shown, response);
        const archive = await read(response, what, signal);
        if ((await hashed(archive)) !== sha256) {
          throw new Error(`${what} was refused: the file is damaged, or not the one that Pyodide names.`);
        }
        if (url.endsWith(".whl")) return readZip(archive);
        return url.endsWith(".tgz") ? readTar(archive) : archive;
      }),
    );
  } finally {
    downloads.drop(shown);
  }
}

async function provide(pyodide, message) {
  for (const part of await needed(message)) {
    const [{ name }] = part.wheels;
    if (unpacked.has(name)) continue;
    for (const files of await fetchPackage(part)) {
      if (Array.isArray(files)) place(pyodide.FS, files, GUIDE);
      else pyodide.unpackArchive(files, "bztar", { extractDir: GUIDE });
    }
    unpacked.add(name);
    fetched.delete(name);
  }
}

// A page expects a run. What fails now will fail again then, and be told.
async function prepare(pyodide, message) {
  try {
    await provide(pyodide, message);
    if (message.needs !== "core") {
      post({ type: "loading", text: "Starting PyTorch's subset" });
      pyodide.runPython("import torch");
    }
  } catch {}
  post({ type: "prepared" });
}

// ---- models --------------------------------------------------------------------------------------------------------

const ahead = new Map(); // what is read of models while Python starts

const named = async (code) => (await runtime).models.filter(({ pattern }) => new RegExp(pattern).test(code));

// Only those that are stored, or that the reader has agreed to download: `agreed` names them.
async function provideModels({ FS }, { id, code, agreed = [] }) {
  const { signal } = stopped;
  for (const model of await named(code)) {
    const { name, title } = model;
    const early = ahead.get(model);
    ahead.delete(model);
    const path = ({ url }) => `/models/${name}/${url.split("/").pop()}`;
    const files = model.files.filter((file) => !FS.analyzePath(path(file)).exists);
    if (!files.length) continue;
    const missing = (await missingFiles(model)).filter((file) => files.includes(file));
    if (missing.length && !agreed.includes(name)) {
      const text = `This code needs ${title}, a download of ${Math.round(megabytes(missing))} MB that stays in this browser. Press Run again to download it.`;
      throw Object.assign(new Error(text), { models: [{ name, title, missing: megabytes(missing), memory: model.memory }] });
    }
    if (!missing.length) post({ type: "loading", text: `Loading ${title} from this browser` });
    const download = (file) => fetchFile(file, title, signal);
    const options = { files, missing, ahead: early ?? readAhead(model, files, hashed), sha256: hashed, download, downloads };
    const stored = await provideModel(model, { ...options, place: (file, blob) => placeBlob(FS, path(file), blob), signal });
    if (!stored) post({ type: "note", id, text: `This browser could not store ${title}: the next visit downloads it again.` });
  }
}

// Python reads a blob piece by piece, from where the browser keeps it. A copy in the worker would be freed too late.
function placeBlob(FS, path, blob) {
  const { WORKERFS } = FS.filesystems;
  const [, folder, name] = path.match(/(.*)\/(.*)/);
  if (!FS.analyzePath(folder).exists) {
    FS.mkdirTree(folder);
    FS.mount(WORKERFS, {}, folder);
  }
  WORKERFS.createNode(FS.lookupPath(folder).node, name, WORKERFS.FILE_MODE, 0, blob);
}

// A host without HTTPS leaves it to Python, which takes longer.
async function hashed(content) {
  if (!crypto.subtle) return (await started).hash(content);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Past the browser's own cache, which would hold a second copy.
async function fetchFile({ url }, title, signal) {
  const response = await get(new URL(url, VENDOR), title, signal, { cache: "no-store" });
  downloads.count(title, response);
  return read(response, title, signal, "blob");
}

// ---- messages ------------------------------------------------------------------------------------------------------

async function receive(message) {
  if (message.type === "start") {
    started = start(message.address);
    await started.catch((error) => post({ type: "failed", text: `Python could not start. ${error.message}` }));
    return;
  }
  try {
    await (await started).answer(message);
  } catch (error) {
    if (message.type !== "run") return;
    const aborted = error.name === "AbortError";
    post({ type: "error", id: message.id, text: aborted ? "Stopped." : error.message, interrupted: aborted, models: error.models });
    post({ type: "done", id: message.id, seconds: 0 });
  }
}

function stop() {
  stopped.abort();
  stopped = new AbortController();
  ahead.clear();
}

// Packages come while Python starts. What fails is told when the run's turn comes. Resolves to whether all have come.
async function prefetch(message) {
  try {
    const parts = (await needed(message)).filter(({ wheels }) => !unpacked.has(wheels[0].name));
    await Promise.all(parts.map(fetchPackage));
    return true;
  } catch {
    return false;
  }
}

// Weights are read while Python starts, and after what it starts from.
async function prefetchModels({ code }) {
  try {
    await memory;
    for (const model of await named(code)) if (!ahead.has(model)) ahead.set(model, readAhead(model, model.files, hashed));
  } catch {}
}

// One message at a time, in order: loading is asynchronous, and the next must not overtake it. A stop does. A prepare waits
// for its packages outside the queue, so that a run that needs less does not wait for them.
self.onmessage = async ({ data }) => {
  if (data.type === "interrupt") return stop();
  if (data.type === "run") prefetch(data);
  if (data.type === "run" && !ready) prefetchModels(data);
  if (data.type === "prepare" && !(await prefetch(data))) return post({ type: "prepared" });
  queue = queue.then(() => receive(data));
};
