// The sampling playground: the next token's distribution before and after each filter, and text written step by step.

import { openModel } from "./model.js";
import { Generator } from "./random.js";
import { greedy, sample, softmax, stages } from "./sampling.js";
import {
  announcer,
  bar,
  button,
  field,
  make,
  permalink,
  settingsFromAddress,
  slider,
  table,
  textBox,
  visible,
  within,
} from "./ui.js";

const PROMPT = "We must";
const ROWS = 15;
const OFF = { repetitionPenalty: 1, topK: 0, topP: 1, minP: 0 }; // what leaves a filter out

export async function start(content) {
  const { model, encode, bytesOf, endOfText } = await openModel();
  const { vocab_size, context_length } = model.config;
  const given = settingsFromAddress("sampler");
  const settings = {
    repetitionPenalty: within(given.repetitionPenalty, 0.5, 2, OFF.repetitionPenalty),
    temperature: Math.round(20 * within(given.temperature, 0, 2, 0.8)) / 20, // near 0, logits would overflow
    topK: Math.trunc(within(given.topK, 0, 200, 50)),
    topP: within(given.topP, 0.05, 1, OFF.topP),
    minP: within(given.minP, 0, 1, OFF.minP),
  };
  const { row, box: prompt } = textBox("Prompt", {
    value: given.prompt ?? PROMPT,
    maxLength: 2000,
    rows: 2,
  });
  const seed = make("input", {
    type: "number",
    min: 0,
    max: 2 ** 32 - 1,
    step: 1,
    value: Math.trunc(within(given.seed, 0, 2 ** 32 - 1, 0)),
  });
  const { line, say } = announcer();
  const { link, set } = permalink("sampler");
  const written = make("p", { className: "written" });
  written.setAttribute("aria-label", "The text so far");
  const distribution = make("div");
  const counts = make("p", { className: "detail" });
  let ids, cache, logits, generator, nPrompt;

  const inUse = () => Object.fromEntries(Object.entries(settings).filter(([name, setting]) => setting !== OFF[name]));
  const name = (id) => visible(bytesOf(id));

  function show() {
    const found = stages(logits, ids, inUse());
    const final = found.at(-1)[1];
    const [before, after] = [softmax(logits), softmax(final)];
    const inOrder = [...before.keys()].sort((a, b) => after[b] - after[a] || before[b] - before[a]).slice(0, ROWS);
    const cell = (z) => (z === -Infinity ? "removed" : z.toFixed(2));
    distribution.replaceChildren(
      table(
        `The ${ROWS} most likely of ${vocab_size.toLocaleString("en")} tokens: logits at first and after each filter, ` +
          "and the probability p before and after all of them",
        ["Token", ...found.map(([step]) => step), "p before", "p after"],
        inOrder.map((id) => [name(id), ...found.map(([, z]) => cell(z[id])), bar(before[id]), bar(after[id])]),
      ),
    );
    const left = found.map(
      ([step, z]) => `${z.filter((x) => x > -Infinity).length.toLocaleString("en")} after ${step}`,
    );
    counts.textContent = `Tokens left: ${left.join(", ").replace("after logits", "at first")}.`;
    const text = (part) => new TextDecoder().decode(Uint8Array.from(part.flatMap((id) => [...bytesOf(id)])));
    written.replaceChildren(text(ids.slice(1, nPrompt)), make("mark", {}, text(ids.slice(nPrompt))));
    const isFull = ids.length >= context_length;
    for (const control of writing) control.disabled = isFull || (ids.length > 1 && ids.at(-1) === endOfText);
    set({ prompt: prompt.value, seed: seed.value, ...settings });
  }

  function restart() {
    ids = encode(prompt.value).slice(0, context_length - 1);
    nPrompt = ids.length;
    cache = model.emptyCache();
    for (const id of ids) ({ logits } = model.read(id, cache));
    generator = new Generator(Math.trunc(within(seed.value, 0, 2 ** 32 - 1, 0)));
    show();
  }

  function write(n) {
    const before = ids.length;
    while (ids.length < Math.min(before + n, context_length) && (ids.length === before || ids.at(-1) !== endOfText)) {
      const filtered = stages(logits, ids, inUse()).at(-1)[1];
      const next = settings.temperature === 0 ? greedy(filtered) : sample(filtered, generator);
      ids.push(next);
      if (ids.length < context_length) ({ logits } = model.read(next, cache));
    }
    show();
    const told = ids
      .slice(before)
      .map((id) => visible(bytesOf(id)))
      .join("")
      .replaceAll("·", " ");
    const ending =
      ids.at(-1) === endOfText
        ? " The document ends."
        : ids.length >= context_length
          ? ` The model reads no more than ${context_length} tokens.`
          : "";
    say(`Written: ${told}${ending}`);
  }

  const change = (name) => (setting) => {
    settings[name] = setting;
    show();
    const left = stages(logits, ids, inUse())
      .at(-1)[1]
      .filter((z) => z > -Infinity).length;
    say(`${left} of ${vocab_size} tokens can follow.`);
  };
  const off = (isOff, text) => (x) => (isOff(x) ? "off" : text(x));
  const two = (x) => x.toFixed(2);
  const sliders = [
    slider(
      "Repetition penalty",
      { min: 0.5, max: 2, step: 0.05, value: settings.repetitionPenalty, format: off((x) => x === 1, two) },
      change("repetitionPenalty"),
    ),
    slider(
      "Temperature",
      { min: 0, max: 2, step: 0.05, value: settings.temperature, format: (x) => (x === 0 ? "0, greedy" : two(x)) },
      change("temperature"),
    ),
    slider(
      "Top-k",
      { min: 0, max: 200, step: 1, value: settings.topK, format: off((x) => x === 0, String) },
      change("topK"),
    ),
    slider(
      "Top-p",
      { min: 0.05, max: 1, step: 0.05, value: settings.topP, format: off((x) => x === 1, two) },
      change("topP"),
    ),
    slider(
      "Min-p",
      { min: 0, max: 1, step: 0.01, value: settings.minP, format: off((x) => x === 0, two) },
      change("minP"),
    ),
  ];
  const writing = [button("Write one token", () => write(1)), button("Write 20", () => write(20))];
  prompt.addEventListener("input", restart);
  seed.addEventListener("input", restart);
  content.append(
    row,
    make("div", { className: "sliders" }, ...sliders, field("Seed", seed)),
    make("p", { className: "buttons" }, ...writing, button("Start over", restart)),
    written,
    line,
    counts,
    distribution,
    make("p", {}, link),
  );
  restart();
}
