"""Files that outlive the tab, in Node: a tab that ends at any step of its storage, denied storage."""

from typing import Any

from site_tools import RUNTIME
from tests.runtime.node import node

MODULE = RUNTIME / "kept_files.mjs"

# A browser whose tab is gone after so many steps of its storage, and a file system as Python's.
BROWSER = """
const disk = new Map(); // contents by address
let left = Infinity;
const step = async (work) => {
  if (left-- <= 0) throw new Error("gone");
  await null;
  return work();
};
const cache = {
  keys: () => step(() => [...disk.keys()].map((url) => ({ url }))),
  match: ({ url }) => step(() => new Response(disk.get(url))),
  put: async (url, response) => {
    const content = await response.arrayBuffer();
    return step(() => disk.set(url, content));
  },
  delete: (url) => step(() => disk.delete(url)),
};
globalThis.caches = { open: () => step(() => cache) };

function fileSystem() {
  const files = new Map();
  return {
    files,
    mkdirTree() {},
    stat: (path) => ({ mode: files.has(path) }),
    isFile: (mode) => mode,
    readFile: (path) => files.get(path).slice(),
    writeFile: (path, content) => files.set(path, content),
    analyzePath: (path) => ({ exists: files.has(path) }),
    rename(from, to) {
      files.set(to, files.get(from));
      files.delete(from);
    },
    unlink: (path) => files.delete(path),
  };
}

// Trains as llmguide.training.checkpoint saves with keep_last=2; each step takes as long as its storage.
async function train(FS, steps, report) {
  const sent = [];
  m.watchFiles(FS, (file) => sent.push(m.keep(file)));
  const newest = () => Math.max(0, ...[...FS.files.keys()].map((name) => Number(name.split("-")[1] ?? 0)));
  for (let n = newest() + 1; n <= steps; n++) {
    FS.writeFile("/kept/run/.unfinished", new Uint8Array([n, n]));
    FS.rename("/kept/run/.unfinished", `/kept/run/step-${n}`);
    for (const name of names(FS)) if (Number(name.split("-")[1]) <= n - 2) FS.unlink(name);
    await Promise.all(sent.splice(0));
    report(n);
    if (left <= 0) return;
  }
}
const names = (FS) => [...FS.files.keys()].sort();
"""


def in_browser(body: str) -> Any:
    return node(MODULE, BROWSER + body)


def test_a_tab_that_ends_anywhere_loses_one_step_at_most() -> None:
    found = in_browser("""
        const lost = [];
        for (let end = 1; end < 60; end++) {
          disk.clear();
          left = end;
          let done = 0;
          await train(fileSystem(), 12, (n) => (done = n));
          left = Infinity;
          const FS = fileSystem();
          await m.restoreFiles(FS);
          const found = names(FS).map((name) => Number(name.split("-")[1]));
          const whole = found.every((n) => String(FS.files.get(`/kept/run/step-${n}`)) === `${n},${n}`);
          lost.push(whole ? done - Math.max(0, ...found) : "damaged");
          await train(FS, 12, () => {});
          if (!names(FS).includes("/kept/run/step-12")) lost.push("not continued");
        }
        return lost;
    """)
    assert len(found) == 59
    assert set(found) == {0, 1}


def test_without_storage_the_files_are_in_memory_and_the_page_is_told() -> None:
    found = in_browser("""
        globalThis.caches = { open: async () => { throw new DOMException("denied", "SecurityError"); } };
        const FS = fileSystem();
        const stored = [];
        m.watchFiles(FS, async (file) => stored.push(await m.keep(file)));
        await m.restoreFiles(FS);
        FS.writeFile("/tmp/a", new Uint8Array(1));
        FS.rename("/tmp/a", "/tmp/b");
        FS.rename("/tmp/b", "/kept/c");
        await new Promise((done) => setTimeout(done));
        return { names: names(FS), stored };
    """)
    assert found == {"names": ["/kept/c"], "stored": [False]}


def test_what_python_has_is_newer_than_what_is_stored() -> None:
    found = in_browser("""
        await m.keep({ path: "/kept/a ü", content: new Uint8Array([1]) });
        await m.keep({ path: "/kept/b", content: new Uint8Array([2]) });
        const FS = fileSystem();
        FS.writeFile("/kept/b", new Uint8Array([3]));
        await m.restoreFiles(FS);
        return Object.fromEntries([...FS.files].map(([name, content]) => [name, [...content]]));
    """)
    assert found == {"/kept/a ü": [1], "/kept/b": [3]}
