// The attention explorer: what every head of every layer looks at, in the reader's own text.

import { openModel } from "./model.js";
import { softmax } from "./sampling.js";
import {
  announcer,
  bar,
  folded,
  make,
  percent,
  permalink,
  roving,
  settingsFromAddress,
  table,
  textBox,
  visible,
  within,
} from "./ui.js";

const EXAMPLE = "The Congress of the United States and the people of the United";
const PREDICTIONS = 8;

// The color of the figures at the reader's palette.
const accent = () => getComputedStyle(document.body).getPropertyValue("--figure-accent").trim();

// One cell a pair of tokens: rows are queries, columns are keys. The whole image is described by its label.
function draw(canvas, rows) {
  const n = rows.length;
  const side = Math.max(1, Math.floor(canvas.dataset.side / n));
  canvas.width = canvas.height = n * side;
  const context = canvas.getContext("2d");
  context.fillStyle = accent();
  rows.forEach((row, query) =>
    row.forEach((weight, key) => {
      context.globalAlpha = Math.sqrt(weight); // so that small weights are seen
      context.fillRect(key * side, query * side, side, side);
    }),
  );
}

export async function start(content) {
  const { model, encode, bytesOf } = await openModel();
  const { n_layers, n_heads, context_length } = model.config;
  const given = settingsFromAddress("explorer");
  const chosen = (index, n, otherwise) => Math.trunc(within(index, 0, n - 1, otherwise));
  const state = { layer: chosen(given.layer, n_layers, 2), head: chosen(given.head, n_heads, 0), token: 0 };
  const { row, box: text } = textBox("Your text", { value: given.text ?? EXAMPLE, maxLength: 2000, rows: 2 });
  const { line, say } = announcer();
  const { link, set } = permalink("explorer");
  const note = make("p", { className: "detail" });
  let ids = [];
  let reads = [];

  const name = (position) => visible(bytesOf(ids[position]));
  const rowsOf = (layer, head) => reads.map(({ attention }) => attention[layer][head]);

  // ---- every head, small: a group of buttons of which one is pressed ------------------------------------------
  const heads = [];
  const grid = make("div", { className: "heads" });
  grid.setAttribute("role", "group");
  grid.setAttribute("aria-label", "Layers and heads");
  for (let layer = 0; layer < n_layers; layer++) {
    for (let head = 0; head < n_heads; head++) {
      const canvas = make("canvas");
      canvas.dataset.side = 160;
      const control = make("button", { type: "button" }, canvas, make("span", {}, `${layer + 1}.${head + 1}`));
      control.setAttribute("aria-label", `${layer + 1}.${head + 1}, layer ${layer + 1}, head ${head + 1}`);
      control.addEventListener("click", () => {
        Object.assign(state, { layer, head });
        show();
      });
      heads.push({ layer, head, canvas, control });
      grid.append(control);
    }
  }
  grid.style.setProperty("--heads", n_heads);
  roving(grid, () => {});

  // ---- the chosen head, large, and the text shaded by what the chosen token looks at ---------------------------
  const map = make("canvas", { className: "map" });
  map.dataset.side = 640;
  map.setAttribute("role", "img");
  const pointed = make("p", { className: "detail" });
  map.addEventListener("mousemove", ({ offsetX, offsetY }) => {
    const at = (offset) => Math.min(ids.length - 1, Math.floor((offset / map.clientWidth) * ids.length));
    const [query, key] = [at(offsetY), at(offsetX)];
    const weight = rowsOf(state.layer, state.head)[query][key];
    pointed.textContent =
      weight === undefined
        ? `${name(query)} cannot see ${name(key)}, which comes later`
        : `${name(query)} gives ${name(key)} ${percent(weight)}`;
  });
  const strip = make("div", { className: "tokens" });
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "Tokens of the text; the chosen one attends to the shaded ones");
  const predictions = make("div");
  const matrix = folded("All weights of this head as a table", () => {
    const rows = rowsOf(state.layer, state.head).map((row, query) => [
      name(query),
      ...ids.map((_, key) => (key in row ? row[key].toFixed(2) : "")),
    ]);
    return table(
      `Layer ${state.layer + 1}, head ${state.head + 1}: rows are queries, columns are keys`,
      ["Token", ...ids.map((_, i) => name(i))],
      rows,
    );
  });
  const looks = folded("Attention weights of the chosen token, as a table", () => {
    const row = reads[state.token].attention[state.layer][state.head];
    const inOrder = [...row.keys()].sort((a, b) => row[b] - row[a]);
    return table(
      `${name(state.token)} (place ${state.token + 1}), layer ${state.layer + 1}, head ${state.head + 1}`,
      ["Token", "Place", "Weight"],
      inOrder.map((key) => [name(key), String(key + 1), percent(row[key])]),
    );
  });

  function choose(position) {
    state.token = position;
    const row = reads[position].attention[state.layer][state.head];
    const largest = row.indexOf(Math.max(...row));
    [...strip.children].forEach((chip, key) => {
      chip.style.setProperty("--weight", (row[key] ?? 0) / row[largest]);
      chip.classList.toggle("chosen", key === position);
    });
    const p = softmax(reads[position].logits);
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, PREDICTIONS);
    predictions.replaceChildren(
      table(
        `After “${name(position)}” the model predicts`,
        ["Token", "Probability"],
        best.map((id) => [visible(bytesOf(id)), bar(p[id])]),
      ),
    );
    say(
      `Token ${position + 1}, ${name(position)}, attends most to token ${largest + 1}, ${name(largest)}: ` +
        `${percent(row[largest])}. It expects ${visible(bytesOf(best[0]))}, ${percent(p[best[0]])}.`,
    );
    looks.refresh();
  }

  function show() {
    const rows = rowsOf(state.layer, state.head);
    draw(map, rows);
    map.setAttribute(
      "aria-label",
      `Attention of layer ${state.layer + 1}, head ${state.head + 1}; its numbers are in the tables below`,
    );
    title.textContent = `Layer ${state.layer + 1}, head ${state.head + 1}: rows are queries, columns are keys`;
    for (const { layer, head, control } of heads) {
      control.setAttribute("aria-pressed", String(layer === state.layer && head === state.head));
    }
    choose(Math.min(state.token, ids.length - 1));
    matrix.refresh();
    set({ text: text.value, layer: state.layer, head: state.head });
  }

  function redraw() {
    for (const { layer, head, canvas } of heads) draw(canvas, rowsOf(layer, head));
    draw(map, rowsOf(state.layer, state.head));
  }

  function read() {
    const all = encode(text.value);
    ids = all.slice(0, context_length);
    note.textContent =
      all.length > context_length ? `The model reads ${context_length} tokens; the text has ${all.length}.` : "";
    const cache = model.emptyCache();
    reads = ids.map((id) => model.read(id, cache));
    strip.replaceChildren(...ids.map((_, i) => make("button", { type: "button", textContent: name(i) })));
    roving(strip, choose);
    state.token = ids.length - 1;
    redraw();
    show();
  }

  const title = make("p", { className: "name" });
  let timer;
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(read, 200);
  });
  const palette = new MutationObserver(() => (content.isConnected ? redraw() : palette.disconnect()));
  palette.observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  content.append(
    row,
    note,
    make(
      "div",
      { className: "side-by-side" },
      make("div", {}, make("p", { className: "name" }, "Choose a head; layer 1 is on top"), grid),
      make("div", {}, title, map, pointed),
    ),
    matrix.details,
    make("p", { className: "name" }, "Choose a token; the darker another token, the more weight the chosen one gives it"),
    strip,
    line,
    looks.details,
    predictions,
    make("p", {}, link),
  );
  read();
}
