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

// ---- where the page and its files are --------------------------------------------------------------------------------

export const BASE = new URL("..", import.meta.url);
export const VENDOR = new URL("assets/vendor/", BASE);
export const pageName = () => location.pathname.slice(BASE.pathname.length).replace(/(?:\/|\/?index\.html|\.html)$/, "") || "index";

export async function fetchJson(name) {
  const response = await fetch(new URL(name, VENDOR));
  if (!response.ok) throw new Error(`${name} could not be fetched: the host answered ${response.status}.`);
  return response.json();
}

// A script that site_tools/tab/tab_assets.py has bundled; runtime.json lists what a build lays out for the tab.
export const bundle = async (name) => import(new URL((await fetchJson("runtime.json"))[name], VENDOR).href);
