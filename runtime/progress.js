// Shows how far loading is, in the bar under a cell. Screen readers are told of each new step, and not of each megabyte.

import { make } from "./page.js";

const megabytes = (value) => value.toFixed(1);

function announcer() {
  let box = document.getElementById("loading-announcer");
  if (!box) {
    box = make("div", { id: "loading-announcer" });
    box.setAttribute("role", "status");
    document.querySelector("article").append(box);
  }
  return box;
}

// `progress` is {loaded, total} in megabytes, or null where nobody knows how long it takes. Returns what to write beside it.
export function showProgress(bar, text, progress) {
  const shown = progress ? `${text}: ${megabytes(progress.loaded)} of ${megabytes(progress.total)} MB` : text;
  const element = bar.querySelector("progress") ?? make("progress");
  element.setAttribute("aria-label", text);
  if (progress) Object.assign(element, { max: progress.total, value: progress.loaded });
  else element.removeAttribute("value");
  if (!element.isConnected) bar.append(element);
  if (announcer().textContent !== text) announcer().textContent = text;
  return shown;
}

export function hideProgress(bar) {
  const element = bar.querySelector("progress");
  if (!element) return;
  element.remove();
  announcer().textContent = ""; // the same step is told again in the next run
}

// A live region has to stand in the page before it speaks.
document$.subscribe(() => document.querySelector("[data-cell], .exercise") && announcer());
