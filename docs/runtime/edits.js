// A reader's version of a cell outlives the page, in this browser only.

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
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is switched off: edits last as long as the page
  }
}

export function keepEdit(key, code) {
  try {
    if (code === null) localStorage.removeItem(key);
    else localStorage.setItem(key, code);
  } catch {}
}
