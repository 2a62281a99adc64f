// Training byte-pair encoding on the reader's text, one merge at a time.

import { fromBinary, mergeOnce, pairCounts, startTraining } from "./bpe.js";
import { announcer, button, make, permalink, settingsFromAddress, table, textBox, visible } from "./ui.js";

// The words of Sennrich et al. 2016, section 3.2, as often as there.
const EXAMPLE = "low low low low low lower lower newest newest newest newest newest newest widest widest widest";
const WORDS = 60;
const PAIRS = 8;
const MERGES = 200;

export function start(content) {
  const settings = { text: EXAMPLE, merges: "0", ...settingsFromAddress("trainer") };
  const { row, box: text } = textBox("Text to learn from", {
    value: settings.text,
    maxLength: 5000,
    rows: 3,
    dir: "auto",
  });
  const { line, say } = announcer();
  const { link, set } = permalink("trainer");
  const words = make("ul", { className: "words" });
  words.setAttribute("aria-label", "Words as tokens, most frequent first");
  const counts = make("p", { className: "detail" });
  const tables = make("div", { className: "side-by-side" });
  let training;

  const name = (id) => visible(fromBinary(training.tokens[id]));
  const pairName = ([left, right]) => `${name(left)} + ${name(right)}`;

  function show() {
    const newest = training.tokens.length - 1;
    const inOrder = [...training.words].sort((x, y) => y.count - x.count).slice(0, WORDS);
    words.replaceChildren(
      ...inOrder.map(({ ids, count }) =>
        make(
          "li",
          {},
          ...ids.map((id) =>
            make("span", { className: id === newest && newest > 255 ? "token new" : "token" }, name(id)),
          ),
          make("small", {}, ` × ${count}`),
        ),
      ),
    );
    const nTokens = training.words.reduce((total, { ids, count }) => total + ids.length * count, 0);
    const more =
      training.words.length > WORDS ? ` The ${WORDS} most frequent of ${training.words.length} words are shown.` : "";
    counts.textContent =
      `The text is ${nTokens.toLocaleString("en")} tokens long; the vocabulary has ${training.tokens.length} ids: ` +
      `256 bytes and ${training.merges.length} merges.${more}`;
    const pairs = pairCounts(training).slice(0, PAIRS);
    const merges = training.merges.map(({ pair, count }, i) => [
      String(256 + i),
      pairName(pair),
      name(256 + i),
      String(count),
    ]);
    tables.replaceChildren(
      table(
        "Most frequent pairs; the first is merged next",
        ["Pair", "Count"],
        pairs.map(({ pair, count }) => [pairName(pair), String(count)]),
      ),
      table("Merges, latest first", ["Id", "Pair", "Token", "Count"], merges.reverse()),
    );
    for (const control of merging) control.disabled = !pairs.length || merges.length >= MERGES;
    set({ text: text.value, merges: merges.length });
  }

  function restart() {
    training = startTraining(text.value);
    show();
    say("Every word is its bytes; nothing is merged yet.");
  }

  function merge(n) {
    const target = Math.min(training.merges.length + n, MERGES);
    for (let next = training; next && next.merges.length <= target; next = mergeOnce(next)) training = next;
    show();
    const last = training.merges.at(-1);
    if (last)
      say(
        `Merge ${training.merges.length}: ${pairName(last.pair)} becomes ${name(training.tokens.length - 1)}, ` +
          `id ${training.tokens.length - 1}; the pair occurred ${last.count} times.`,
      );
  }

  const merging = [button("Merge once", () => merge(1)), button("Merge 10 times", () => merge(10))];
  text.addEventListener("input", restart);
  content.append(
    row,
    make("p", { className: "buttons" }, ...merging, button("Start over", restart)),
    line,
    words,
    counts,
    tables,
    make("p", {}, link),
  );
  restart();
  merge(Number(settings.merges) || 0);
}
