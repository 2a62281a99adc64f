// Asks the reader before a kernel may run code that was found in storage. Fetched only when there is such code.

import { make } from "./page.js";

let edits = new Map(); // those of the page that is shown, by their keys
let box = null;
const list = make("div");

export function offer(edit) {
  if (!box?.isConnected) {
    edits = new Map();
    box = ask();
    document.querySelector("article h1").after(box);
  }
  edits.set(edit.key, edit);
  const sorted = [...edits.values()].sort((one, other) => one.label.localeCompare(other.label, "en", { numeric: true }));
  list.replaceChildren(
    ...sorted.map(({ label, code }) =>
      make("details", { open: true }, make("summary", { textContent: label }), make("pre", { tabIndex: 0 }, make("code", { textContent: code }))),
    ),
  );
}

// The buttons stay while edits are added: a press that has begun on one is not lost.
function ask() {
  const title = make("p", { className: "admonition-title", textContent: "Stored edits are not used yet" });
  const why =
    `This browser has edits of this page that were not made in this tab since llmguide serve started. Any program that ` +
    `has used ${location.host} could have left them, and code that runs on your machine can do whatever you can. ` +
    `Use them only if you wrote them. The page then reloads.`;
  const use = make("button", { type: "button", textContent: "Use these edits" });
  use.addEventListener("click", () => {
    for (const { accept } of edits.values()) accept();
    location.reload();
  });
  const remove = make("button", { type: "button", textContent: "Delete them" });
  remove.addEventListener("click", () => {
    for (const { forget } of edits.values()) forget();
    box.remove();
  });
  const answer = make("p", { className: "cell-label" }, use, remove);
  return make("div", { className: "admonition warning confirm" }, title, make("p", { textContent: why }), list, answer);
}
