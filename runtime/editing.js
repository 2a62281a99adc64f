// An editor in the place of a block of code. Loaded, like CodeMirror itself, when a reader presses Edit.

import { bundle, make } from "./page.js";

const load = () => bundle("editor");

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
