// A reader's version of a cell outlives the page, in this browser only.
//
// The browser keeps it for the address. Any program that has used the same address, such as http://127.0.0.1:8000, can
// have left code there. In the tab that code runs in the browser's sandbox. A kernel runs only what was written in this
// tab since its server started; for anything else the page asks the reader first (confirm.js).

import { hasKernel } from "./page.js";

function stored(area, key) {
  try {
    return globalThis[area].getItem(key);
  } catch {
    return null; // storage is switched off: edits last as long as the page
  }
}

function store(area, key, value) {
  try {
    if (value === null) globalThis[area].removeItem(key);
    else globalThis[area].setItem(key, value);
  } catch {}
}

// Where this tab notes which code it may run: no other tab reads it, and no earlier program knew the token.
const note = (key) => `${stored("sessionStorage", "llmguide.kernel")}/${key}`;

// Code that was found in storage, or null while the reader has not confirmed that a kernel may run it.
export function confirmed(key, code, { label, forget }) {
  if (code === null || !hasKernel() || stored("sessionStorage", note(key)) === code) return code;
  const before = stored("sessionStorage", note(key));
  const accept = () => stored("sessionStorage", note(key)) === before && confirm(key, code); // unless edited since
  import("./confirm.js").then(({ offer }) => offer({ key, code, label, accept, forget }));
  return null;
}

export function confirm(key, code) {
  if (hasKernel()) store("sessionStorage", note(key), code);
}

// FNV-1a: names the version of the source that an edit belongs to.
function hash(text) {
  let value = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 0x01000193) >>> 0;
  }
  return value.toString(16);
}

export const keyOf = (page, number, source) => `llmguide.cell/${page}/${number}/${hash(source)}`;

// The code, or null if there is no edit.
export function readEdit(key) {
  const label = `Cell ${key.split("/").at(-2)}`;
  const code = stored("localStorage", key);
  const forget = () => stored("localStorage", key) === code && keepEdit(key, null); // unless edited since
  return confirmed(key, code, { label, forget });
}

export function keepEdit(key, code) {
  store("localStorage", key, code);
  confirm(key, code);
}
