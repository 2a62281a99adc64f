// "Understanding scale": what a number of parameters and of tokens would be, were they things.

import { GRAIN, WORDS_A_MINUTE, WORDS_A_TOKEN, pictures } from "./formulas.js";
import {
  announcer,
  inBytes,
  inWords,
  make,
  permalink,
  power,
  settingsFromAddress,
  slider,
  table,
  within,
} from "./ui.js";

const GPT3 = [174_604_259_328, 300e9]; // parameters as llmguide.config.model_config counts them, tokens as the paper says

const rounded = (exponent) => Number((10 ** exponent).toPrecision(3));

export function start(content) {
  const given = settingsFromAddress("scale");
  const state = { params: within(given.params, 1e5, 1e13, GPT3[0]), tokens: within(given.tokens, 1e6, 1e14, GPT3[1]) };
  const { line, say } = announcer();
  const { link, set } = permalink("scale");
  const result = make("div");

  function update() {
    const { riceTonnes, countingYears, bytes, readingYears, flops, yearsAtTeraflop } = pictures(
      state.params,
      state.tokens,
    );
    const rice = riceTonnes >= 1 ? `${inWords(riceTonnes)} tonnes` : `${inWords(riceTonnes * 1000)} kg`;
    const years = (x) => (x >= 1 ? `${inWords(x)} years` : `${inWords(x * 365.25)} days`);
    result.replaceChildren(
      table(
        `${inWords(state.params)} parameters, trained on ${inWords(state.tokens)} tokens`,
        ["Picture", "Size", "Assumption"],
        [
          ["Each parameter a grain of rice", rice, `${GRAIN} g a grain`],
          ["Counting the parameters, one a second", years(countingYears), "one a second, day and night"],
          ["Holding them in memory", inBytes(bytes), "2 bytes each"],
          [
            "Reading the training text",
            years(readingYears),
            `${WORDS_A_TOKEN} words a token, ${WORDS_A_MINUTE} words a minute, day and night`,
          ],
          ["Training compute", `${power(flops)} FLOP`, "6 × parameters × tokens"],
          ["The same at 10¹² operations a second", years(yearsAtTeraflop), "10¹² FLOP/s, never idle"],
        ],
      ),
    );
    say(`${inWords(state.params)} parameters: ${rice} of rice, ${years(countingYears)} to count.`);
    set(state);
  }

  const change = (name) => (x) => {
    state[name] = rounded(x);
    update();
  };
  const logarithmic = (label, name, min, max) =>
    slider(
      label,
      { min, max, step: "any", value: Math.log10(state[name]), format: (x) => inWords(rounded(x)) },
      change(name),
    );
  content.append(
    make(
      "div",
      { className: "sliders" },
      logarithmic("Parameters", "params", 5, 13),
      logarithmic("Training tokens", "tokens", 6, 14),
    ),
    line,
    result,
    make("p", {}, link),
  );
  update();
}
