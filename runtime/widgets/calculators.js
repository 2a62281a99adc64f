// Calculators: what a model costs to train, to hold in memory, to serve, and to adapt.

import * as formulas from "./formulas.js";
import {
  bar,
  field,
  inBytes,
  inWords,
  make,
  permalink,
  power,
  select,
  settingsFromAddress,
  table,
  whole,
  within,
} from "./ui.js";

const PRESETS = new URL("../../assets/vendor/presets.json", import.meta.url);

// The fields of a shape that a reader may change, in words.
const SHAPE = {
  n_layers: "Layers",
  d_model: "Width",
  n_heads: "Query heads",
  n_kv_heads: "Key/value heads",
  head_dim: "Width of a head",
  d_ff: "Feed-forward width",
  vocab_size: "Vocabulary",
};
const DEFAULTS = {
  preset: "llama-3-8b",
  tokens: 2000,
  peak: 989,
  utilization: 0.4,
  devices: 64,
  stage: 3,
  length: 8192,
  sequences: 1,
  recompute: "selective",
  cached: 8192,
  batch: 1,
  cachedBytes: 2,
  rank: 16,
  targets: "q_proj v_proj",
  bits: "nf4",
};

export async function start(content) {
  const response = await fetch(PRESETS);
  if (!response.ok) throw new Error(`presets.json is not there (${response.status})`);
  const presets = await response.json();
  // encoders and encoder-decoders have no cache, and two of the formulas are for decoders only
  const names = Object.keys(presets).filter((name) => presets[name].architecture === "decoder");
  const known = { ...DEFAULTS, ...SHAPE };
  const given = Object.entries(settingsFromAddress("calculators")).filter(([name]) => Object.hasOwn(known, name));
  const settings = { ...DEFAULTS, ...Object.fromEntries(given) };
  const { link, set } = permalink("calculators");
  const shape = make("div", { className: "inputs" });
  const panels = [];

  const config = () => {
    const changed = Object.keys(SHAPE)
      .filter((name) => name in settings)
      .map((name) => [name, Number(settings[name])]);
    return { ...presets[settings.preset], ...Object.fromEntries(changed) };
  };

  function number(label, name, { min = 1, step = /** @type {number | "any"} */ ("any"), max = 1e9 } = {}) {
    if (name in settings) {
      const value = within(settings[name], min, max, DEFAULTS[name] ?? presets[settings.preset][name]);
      settings[name] = step === 1 ? Math.round(value) : value;
    }
    const input = make("input", { type: "number", min, max, step, value: settings[name] ?? config()[name] });
    input.addEventListener("input", () => {
      settings[name] = input.value;
      update();
    });
    return field(label, input);
  }

  function choice(label, name, options) {
    if (!options.some(([key]) => key === String(settings[name]))) settings[name] = DEFAULTS[name];
    return select(label, options, String(settings[name]), (value) => {
      settings[name] = value;
      update();
    });
  }

  const model = choice(
    "Model",
    "preset",
    names.map((name) => [name, name]),
  );
  model.querySelector("select").addEventListener("change", () => {
    for (const name of Object.keys(SHAPE)) delete settings[name];
    showShape();
    update();
  });
  const showShape = () =>
    shape.replaceChildren(...Object.entries(SHAPE).map(([name, label]) => number(label, name, { step: 1, max: 1e6 })));

  // A part of the calculator: its inputs, and a table that `compute` makes of the shape and the numbers.
  function panel(title, inputs, compute) {
    const result = make("div");
    const set = make(
      "fieldset",
      {},
      make("legend", {}, title),
      make("div", { className: "inputs" }, ...inputs),
      result,
    );
    result.setAttribute("aria-live", "polite");
    panels.push(() => result.replaceChildren(compute(config(), (name) => Number(settings[name]))));
    return set;
  }

  const fractions = (parts) => {
    const total = Object.values(parts).reduce((sum, part) => sum + part, 0);
    return Object.entries(parts).map(([name, part]) => [name.replaceAll("_", " "), part, part / total]);
  };

  const sizes = panel("Parameters", [shape], (shape) =>
    table(
      `${whole(formulas.nParams(shape))} parameters${shape.n_experts ? `; a token meets ${whole(formulas.nActiveParams(shape))}` : ""}`,
      ["Part", "Parameters", "Fraction"],
      fractions(formulas.nParamsByPart(shape))
        .filter(([, part]) => part)
        .map(([name, part, fraction]) => [name, whole(part), bar(fraction)]),
    ),
  );

  const training = panel(
    "Training",
    [
      number("Training tokens, billions", "tokens"),
      number("Peak TFLOP/s of a device", "peak"),
      number("Utilization (MFU)", "utilization", { min: 0.01, max: 1 }),
      number("Devices", "devices", { step: 1 }),
    ],
    (shape, get) => {
      const n = formulas.nActiveParams(shape);
      const tokens = get("tokens") * 1e9;
      const flops = formulas.trainingFlops(n, tokens);
      const hours = formulas.gpuHours(flops, get("peak") * 1e12, get("utilization"));
      const [bestN, bestD] = formulas.chinchillaOptimal(flops);
      const [fitN, fitD] = formulas.parametricOptimal(flops, formulas.FITS.BESIROGLU);
      return table(
        "Cost, and the loss that the scaling laws predict",
        ["Quantity", "Value", "By"],
        [
          ["Training compute", `${power(flops)} FLOP`, "6ND"],
          ["Device-hours", whole(hours), "compute / (peak × MFU)"],
          ["Days on all devices", inWords(hours / get("devices") / 24), ""],
          ["Tokens a parameter", whole(tokens / n), "D / N"],
          [
            "Loss, nats a token",
            formulas.chinchillaLoss(n, tokens, formulas.FITS.HOFFMANN_ROUNDED).toFixed(3),
            "Chinchilla, equation 10",
          ],
          [
            "Loss, nats a token",
            formulas.chinchillaLoss(n, tokens, formulas.FITS.BESIROGLU).toFixed(3),
            "Besiroglu et al., refit",
          ],
          ["Loss, nats a token", formulas.kaplanLoss(n, tokens).toFixed(3), "Kaplan, equation 1.5"],
          [
            "Compute-optimal size",
            `${inWords(bestN)} parameters, ${inWords(bestD)} tokens`,
            "20 tokens a parameter",
          ],
          ["Compute-optimal size", `${inWords(fitN)} parameters, ${inWords(fitD)} tokens`, "the refit"],
        ],
      );
    },
  );

  const memory = panel(
    "Memory of one device in training",
    [
      choice("Sharded over the devices", "stage", [
        ["0", "nothing (DDP)"],
        ["1", "optimizer (ZeRO 1)"],
        ["2", "+ gradients (ZeRO 2)"],
        ["3", "+ weights (ZeRO 3)"],
      ]),
      number("Tokens in a sequence", "length", { step: 1 }),
      number("Sequences on a device", "sequences", { step: 1 }),
      choice("Recomputed, not stored", "recompute", [
        ["none", "nothing"],
        ["selective", "scores (FlashAttention)"],
        ["full", "whole layers"],
      ]),
    ],
    (shape, get) => {
      const parts = {
        ...formulas.modelStateBytes(formulas.nParams(shape), get("stage"), get("devices")),
        activations: formulas.activationBytes(shape, get("length"), get("sequences"), settings.recompute),
      };
      const total = Object.values(parts).reduce((sum, part) => sum + part, 0);
      const caption = `${inBytes(total)} on each of ${whole(get("devices"))} devices, with Adam in mixed precision`;
      return table(
        caption,
        ["Part", "Bytes", "Fraction"],
        fractions(parts).map(([name, part, fraction]) => [name, inBytes(part), bar(fraction)]),
      );
    },
  );

  const cache = panel(
    "Key/value cache",
    [
      number("Tokens, prompt and completion", "cached", { step: 1 }),
      number("Sequences at once", "batch", { step: 1 }),
      choice("Bytes a value", "cachedBytes", [
        ["2", "2 (16 bits)"],
        ["1", "1 (8 bits)"],
      ]),
    ],
    (shape, get) => {
      const bytes = formulas.kvCacheBytes(shape, get("cached"), get("batch"), get("cachedBytes"));
      const everyHead = { ...shape, n_kv_heads: shape.n_heads };
      const rows = [
        ["One token", inBytes(formulas.kvCacheBytesPerToken(shape, get("cachedBytes")))],
        ["All of it", inBytes(bytes)],
        [
          "With a key and value for every query head",
          inBytes(formulas.kvCacheBytes(everyHead, get("cached"), get("batch"), get("cachedBytes"))),
        ],
        ["The weights, at 2 bytes each", inBytes(2 * formulas.nParams(shape))],
      ];
      if (shape.sliding_window) rows.push(["Tokens kept", `the last ${whole(shape.sliding_window)} (sliding window)`]);
      return table("Memory for serving, beside the weights", ["Quantity", "Bytes"], rows);
    },
  );

  const lora = panel(
    "LoRA and QLoRA",
    [
      number("Rank", "rank", { step: 1 }),
      choice("Adapted layers", "targets", [
        ["q_proj v_proj", "queries and values"],
        ["q_proj k_proj v_proj o_proj", "attention"],
        ["all", "all linear layers"],
      ]),
      choice("Frozen weights in", "bits", [
        ["16", "16 bits"],
        ["8", "8 bits"],
        ["nf4", "NF4 (QLoRA)"],
      ]),
    ],
    (shape, get) => {
      const targets =
        settings.targets === "all" ? Object.keys(formulas.linearShapes(shape)) : settings.targets.split(" ");
      const trained = formulas.loraParams(shape, get("rank"), targets);
      const total = formulas.nParams(shape);
      const bits = { 16: 16, 8: 8 + 16 / 64, nf4: formulas.nf4Bits() }[settings.bits];
      const frozen = formulas.quantizedBytes(shape, bits);
      const states = 16 * trained; // float32 weight, gradient, and two moments of Adam
      return table(
        "Memory for fine-tuning, without activations",
        ["Quantity", "Value"],
        [
          ["Trained parameters", `${whole(trained)}, ${((100 * trained) / total).toFixed(3)}% of all`],
          ["Frozen weights", `${inBytes(frozen)}, ${Number(bits.toFixed(3))} bits a quantized weight`],
          ["Adapter weights, gradients and Adam states, in float32", inBytes(states)],
          ["Together", inBytes(frozen + states)],
          ["Full fine-tuning with Adam instead", inBytes(16 * total)],
        ],
      );
    },
  );

  function update() {
    for (const show of panels) {
      try {
        show();
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
        problem.textContent = error.message;
        return;
      }
    }
    problem.textContent = "";
    set(
      Object.fromEntries(Object.entries(settings).filter(([name, value]) => String(value) !== String(DEFAULTS[name]))),
    );
  }

  const problem = make("output", { className: "result" });
  problem.setAttribute("aria-live", "assertive");
  showShape();
  content.append(
    make("div", { className: "inputs" }, model),
    problem,
    sizes,
    training,
    memory,
    cache,
    lora,
    make("p", {}, link),
  );
  update();
}
