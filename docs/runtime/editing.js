// An editor in the place of a block of code. Loaded, like CodeMirror itself, when a reader presses Edit.

import { make } from "./page.js";

const VENDOR = new URL("../assets/vendor/", import.meta.url);

// tools/runtime.py lists in runtime.json what a build lays out for the tab.
async function load() {
  const response = await fetch(new URL("runtime.json", VENDOR));
  if (!response.ok) throw new Error(`The list of files could not be fetched: the host answered ${response.status}.`);
  return import(new URL((await response.json()).editor, VENDOR));
}

// Code as static elements, in the colors of the editor.
export async function color(code) {
  return (await load()).color(code);
}

// `id` and `help` are of the line that tells which keys do what; editor.js knows the other options.
export async function edit(block, { id, help, ...options }) {
  const { open } = await load();
  const code = block.querySelector("pre");
  const holder = make("div", { className: "cell-editor" }, make("p", { id, className: "cell-help", textContent: help }));
  code.hidden = true;
  block.append(holder);
  const editor = open(holder, { description: id, ...options });
  return {
    focus: () => editor.focus(),
    close() {
      editor.close();
      holder.remove();
      code.hidden = false;
    },
  };
}
