// What everything that runs code on a page uses.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Whether `llmguide serve` opened this tab: guide.js has put its token there.
export function hasKernel() {
  try {
    return sessionStorage.getItem("llmguide.kernel") !== null;
  } catch {
    return false; // storage is switched off
  }
}

export const RUN_KEY = /^(Mac|iP)/.test(navigator.platform) ? "⌘ Enter" : "Ctrl-Enter";

export const VISIT_NEEDS = "llmguide.needs"; // in sessionStorage: what runs of this visit have needed

// ---- what a visit downloads once ------------------------------------------------------------------------------------

const fetched = new Set(); // names of parts: those of `data-loads`

export const partsOf = (loads) => (loads?.split(" ") ?? []).map((part) => part.split(":")).map(([name, size]) => [name, Number(size)]);
export const missing = (parts) => parts.filter(([name]) => !fetched.has(name));
export const megabytes = (parts) => parts.reduce((sum, [, size]) => sum + size, 0);
export function noteFetched(parts) {
  for (const [name] of parts) fetched.add(name);
  dispatchEvent(new Event("llmguide:fetched")); // the lines of cells and exercises name what is left to download
}
