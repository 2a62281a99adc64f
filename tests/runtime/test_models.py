"""Weights in a browser's storage, in Node: interrupted, damaged, denied, full, shared, of two versions."""

from typing import Any

import pytest
from site_tools import RUNTIME
from tests.runtime.node import node

MODULE = RUNTIME / "model_storage.mjs"

# A browser whose storage can be damaged, denied and full, and whose tabs can end at any of their steps.
BROWSER = """
const { createHash } = await import("node:crypto");
const sha256 = async (content) => createHash("sha256").update(Buffer.from(content)).digest("hex");
let seed = 1;
const random = () => ((seed = (seed * 48271) % 2147483647) / 2147483647);
const below = (n) => Math.floor(random() * n);
const disk = new Map(); // by name of the cache: Map of contents by address
const browser = { denied: false, space: Infinity, held: new Map(), locks: true };
const host = { asked: [], damaged: false };

async function version(number, sizes) {
  const files = [];
  for (const [index, size] of sizes.entries()) {
    const first = index * 31 + (index ? number : 0); // the first file is the same in all versions
    const content = new Uint8Array(size).map((_, at) => (at * 7 + first) % 256).buffer;
    files.push({ url: `v${number}/part-${index}.bin`, bytes: size, sha256: await sha256(content), content });
  }
  return { name: "tiny", title: "Tiny", files };
}

// One tab, which is gone after so many steps: nothing that it would do later happens.
function tab(steps = Infinity) {
  const gone = () => new Error("gone");
  const step = async (work) => {
    if (steps-- <= 0) throw gone();
    for (let i = below(3); i > 0; i--) await null;
    const result = await work();
    if (steps-- <= 0) throw gone();
    return result;
  };
  const cache = (entries) => ({
    match: (address) => step(() => entries.has(address) && new Response(entries.get(address))),
    keys: () => step(() => [...entries.keys()].map((url) => ({ url }))),
    put: async (address, response) => {
      const content = await response.arrayBuffer();
      return step(() => {
        const used = [...entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
        if (used + content.byteLength > browser.space) throw new DOMException("full", "QuotaExceededError");
        entries.set(address, content);
      });
    },
    delete: ({ url }) => step(() => entries.delete(url)),
  });
  const place = new Map();
  const counted = { expected: 0, files: 0 };
  return {
    placed: place,
    counted,
    caches: {
      open: (name) => step(() => {
        if (browser.denied) throw new DOMException("denied", "SecurityError");
        if (!disk.has(name)) disk.set(name, new Map());
        return cache(disk.get(name));
      }),
      delete: (name) => step(() => disk.delete(name)),
    },
    options: (signal = new AbortController().signal) => ({
      sha256, signal,
      downloads: {
        expect: (_, __, files) => (counted.expected += files),
        count: () => counted.files++,
        drop() {},
      },
      place: (file, content) => {
        if (steps <= 0) throw gone();
        place.set(file.url, content);
      },
      download: async (file) => {
        host.asked.push(file.url);
        const content = await step(() => file.content.slice());
        counted.files++;
        if (host.damaged) new Uint8Array(content)[0] ^= 1;
        return new Blob([content]);
      },
    }),
  };
}

async function load(model, it = tab()) {
  globalThis.caches = it.caches;
  const missing = await m.missingFiles(model);
  const ahead = m.readAhead(model, model.files, sha256);
  return m.provide(model, { files: model.files, missing, ahead, ...it.options() });
}
const locks = {
  async request(name, { signal }, work) {
    if (!browser.locks) throw new DOMException("denied", "SecurityError");
    const before = browser.held.get(name);
    let release;
    browser.held.set(name, new Promise((resolve) => (release = resolve)));
    await before;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      release();
    }
  },
};
Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });

async function equal(blob, content) {
  return Boolean(blob) && Buffer.from(await blob.arrayBuffer()).equals(Buffer.from(content));
}
async function whole(model, placed) {
  for (const { url, content } of model.files) if (!(await equal(placed.get(url), content))) return false;
  return true;
}
const stored = () => disk.get("llmguide-model-tiny") ?? new Map();
const damage = () => {
  const [address, content] = [...stored()][below(stored().size)];
  const copy = content.slice(0, content.byteLength - below(2));
  if (copy.byteLength === content.byteLength) new Uint8Array(copy)[below(copy.byteLength)] ^= 1 + below(255);
  stored().set(address, copy);
};
const SIZES = [40, 64, 1, 25];
"""


def in_browser(body: str) -> Any:
    return node(MODULE, BROWSER + body)


def test_a_tab_that_ends_anywhere_leaves_nothing_that_a_later_start_takes_for_weights() -> None:
    found = in_browser("""
        const versions = [await version(1, SIZES), await version(2, SIZES)];
        const seen = { interrupted: 0, damaged: 0, wrong: 0 };
        for (let start = 0; start < 1000; start++) {
          seed = start + 1;
          disk.clear();
          let finished = false;
          for (let visit = 0; !finished; visit++) {
            const model = versions[visit < 2 ? below(2) : 1];
            if (stored().size && below(4) === 0) { damage(); seen.damaged++; }
            const it = tab(visit < 6 ? below(40) : Infinity);
            try {
              await load(model, it);
              finished = visit >= 6;
              if (!(await whole(model, it.placed))) seen.wrong++;
            } catch (error) {
              if (error.message !== "gone") throw error;
              seen.interrupted++;
              for (const [url, content] of it.placed) {
                const file = model.files.find((file) => file.url === url);
                if (!(await equal(content, file.content))) seen.wrong++;
              }
            }
          }
          host.asked = [];
          const again = tab();
          await load(versions[1], again);
          const rests = !host.asked.length && stored().size === SIZES.length;
          if (!(await whole(versions[1], again.placed)) || !rests) seen.wrong++;
        }
        return seen;
    """)
    assert found["wrong"] == 0
    assert found["interrupted"] > 2000
    assert found["damaged"] > 500


def test_an_interrupted_download_goes_on_after_the_last_whole_file() -> None:
    found = in_browser("""
        const model = await version(1, SIZES);
        const stop = new AbortController();
        const it = tab();
        const options = it.options(stop.signal);
        globalThis.caches = it.caches;
        const download = (file) => {
          if (file === model.files[2]) stop.abort();
          return stop.signal.aborted ? Promise.reject(stop.signal.reason) : options.download(file);
        };
        const all = { files: model.files, missing: model.files, ahead: new Map() };
        const error = await m.provide(model, { ...all, ...options, download }).catch(({ name }) => name);
        const left = (await m.missingFiles(model)).map(({ url }) => url);
        host.asked = [];
        const kept = await load(model);
        return { error, left, asked: host.asked, kept };
    """)
    rest = ["v1/part-2.bin", "v1/part-3.bin"]
    assert found == {"error": "AbortError", "left": rest, "asked": rest, "kept": True}


def test_bytes_that_are_not_those_of_the_list_are_neither_stored_nor_used() -> None:
    found = in_browser("""
        const model = await version(1, SIZES);
        host.damaged = true;
        const it = tab();
        const error = await load(model, it).catch(({ message }) => message);
        return { error, asked: host.asked.length, stored: stored().size, placed: it.placed.size };
    """)
    assert found == {
        "error": "Tiny was refused: the file v1/part-0.bin is damaged.",
        "asked": 1,
        "stored": 0,
        "placed": 0,
    }


@pytest.mark.parametrize("lack", ["browser.denied = true", "browser.space = 70"], ids=["denied", "full"])
def test_without_storage_a_model_is_used_from_memory_and_that_is_told(lack: str) -> None:
    found = in_browser(f"""
        const model = await version(1, SIZES);
        {lack};
        browser.locks = !browser.denied;
        const it = tab();
        const kept = await load(model, it);
        return {{ kept, whole: await whole(model, it.placed), counted: it.counted }};
    """)
    assert found == {"kept": False, "whole": True, "counted": {"expected": 4, "files": 4}}


@pytest.mark.parametrize("locks", [True, False])
def test_two_tabs_at_once_get_whole_files_and_with_locks_download_them_once(locks: bool) -> None:
    found = in_browser(f"""
        browser.locks = {str(locks).lower()};
        const model = await version(1, SIZES);
        const seen = {{ wrong: 0, most: 0 }};
        for (let start = 0; start < 100; start++) {{
          seed = start + 1;
          disk.clear();
          host.asked = [];
          const tabs = [tab(), tab()];
          const kept = await Promise.all(tabs.map((it) => load(model, it)));
          for (const {{ placed, counted }} of tabs) {{
            if (!(await whole(model, placed)) || counted.files !== counted.expected) seen.wrong++;
          }}
          if (!kept.every(Boolean) || stored().size !== SIZES.length) seen.wrong++;
          seen.most = Math.max(seen.most, host.asked.length);
        }}
        return seen;
    """)
    assert found["wrong"] == 0
    assert found["most"] == (4 if locks else 8)


def test_a_new_version_downloads_what_changed_and_removes_the_old_files() -> None:
    found = in_browser("""
        const [old, now] = [await version(1, SIZES), await version(2, SIZES)];
        await load(old);
        host.asked = [];
        await load(now);
        const kept = new Set([...stored().keys()].map((address) => address.split("/").pop()));
        const asked = host.asked;
        await m.remove(now);
        const every = now.files.every(({ sha256 }) => kept.has(sha256));
        return { asked, kept: every, count: kept.size, left: disk.size };
    """)
    assert found["asked"] == ["v2/part-1.bin", "v2/part-2.bin", "v2/part-3.bin"]
    assert found["kept"]
    assert found["count"] == 4
    assert found["left"] == 0
