// A slider through the lines that the cell above it has printed, each a strength and a completion: those that the page stores
// or, after a run, the reader's own.

import { make, permalink, settingsFromAddress, slider, within } from "./ui.js";

const NAME = "steering";
const LINE = /^([+-]?\d+(?:\.\d+)?) (.+)$/;

const parse = (text) =>
  text
    .split("\n")
    .map((line) => line.match(LINE))
    .filter(Boolean)
    .map(([, strength, completion]) => ({ strength: Number(strength), completion }));

// Of a run that has not failed, or of the page.
function printed(cell) {
  for (const [blocks, origin] of [
    [".cell-result:not(:has(.error)) .output:not(.stderr) code", "of your run"],
    [".output:not(.cell-result *) code", "stored with the page"],
  ]) {
    const lines = [...cell.querySelectorAll(blocks)].flatMap((code) => parse(code.textContent));
    if (lines.length) return { lines, origin };
  }
  return { lines: [], origin: "" };
}

export function start(content) {
  const box = document.querySelector(`[data-widget="${NAME}"]`);
  let strength = within(settingsFromAddress(NAME).strength, -1e6, 1e6, 0);
  const { link, set } = permalink(NAME);
  const control = make("div");
  const written = make("p", { className: "written" });
  const detail = make("p", { className: "detail" });

  function build({ lines, origin }) {
    const distance = ({ strength: other }) => Math.abs(other - strength);
    const nearest = lines.reduce((best, line, index) => (distance(line) < distance(lines[best]) ? index : best), 0);
    const name = (index) => String(lines[index].strength).replace("-", "−");
    const row = slider("Strength", { min: 0, max: lines.length - 1, step: 1, value: nearest, format: name }, (index) => {
      strength = lines[index].strength;
      show(index);
    });
    const input = row.querySelector("input");
    function show(index) {
      const { completion } = lines[index];
      written.textContent = completion;
      input.setAttribute("aria-valuetext", `${name(index)}: ${completion}`);
      set({ strength: lines[index].strength });
    }
    const isFocused = control.contains(document.activeElement);
    control.replaceChildren(row);
    if (isFocused) input.focus();
    detail.textContent = `Line of the output above, ${origin}.`;
    show(nearest);
  }

  // A run replaces the output. While it has printed nothing, or if it prints something else, the last lines stay.
  let before;
  function look() {
    const found = printed(box.previousElementSibling);
    const now = JSON.stringify(found);
    if (found.lines.length && now !== before) build(found);
    before = now;
  }
  new MutationObserver(look).observe(box.parentElement, { childList: true, subtree: true });
  look();
  content.append(control, written, detail, make("p", {}, link));
}
