// The tokenizer playground: one text in three encodings, token by token.

import { ENCODINGS, load } from "./encodings.js";
import {
  announcer,
  button,
  field,
  folded,
  hex,
  make,
  permalink,
  roving,
  select,
  settingsFromAddress,
  table,
  textBox,
  visible,
} from "./ui.js";

const EXAMPLES = {
  English: "Tokenization isn't splitting at spaces: 1234567 apples, unbelievably.",
  German: "Die Donaudampfschifffahrtsgesellschaft kündigte Verspätungen an.",
  Chinese: "语言模型读的不是字，而是词元。",
  Arabic: "النماذج اللغوية تقرأ الرموز لا الحروف.",
  Emoji: "👍🏽 👩‍👩‍👧‍👦 🇩🇪",
  Code: "def square(x):\n    return x ** 2  # so many spaces\n",
  Special: "The end.<|endoftext|>A new document.",
};
const SHOWN = 2000; // tokens; more would make the page slow
const TABULATED = 500;

class Encoding {
  constructor(name, bytes, onLoad) {
    this.name = name;
    this.strip = make("div", { className: "tokens" });
    this.strip.setAttribute("role", "group");
    this.strip.setAttribute("aria-label", `Tokens of ${name}`);
    this.detail = make("p", { className: "detail" });
    this.folded = folded(`The tokens of ${name} as a table`, () => this.#table());
    this.add = button(`Add ${name} (${Math.ceil(bytes / 1000)} kB)`, async () => {
      this.add.disabled = true;
      try {
        await this.load();
        onLoad();
        this.strip.querySelector("button")?.focus();
      } catch (error) {
        this.add.disabled = false;
        this.detail.textContent = `It could not be loaded: ${error.message}`;
      }
    });
    const title = make("p", { className: "name" }, make("strong", {}, name), ` ${ENCODINGS[name].models}`);
    this.section = make("div", { className: "encoding" }, title, this.add, this.detail);
  }

  async load() {
    this.tokenize = await load(this.name);
    this.add.replaceWith(this.strip);
    this.section.append(this.folded.details);
  }

  show(text, withSpecial) {
    this.tokens = this.tokenize(text, withSpecial);
    const shown = this.tokens.slice(0, SHOWN).flatMap(({ id, bytes }) => {
      const name = visible(bytes);
      const chip = make("button", { type: "button", textContent: name });
      chip.setAttribute("aria-label", `${name}, id ${id}`);
      return name.endsWith("⏎") ? [chip, make("br")] : [chip];
    });
    this.strip.replaceChildren(...shown);
    roving(this.strip, (index) => this.#describe(index));
    this.detail.textContent =
      this.tokens.length > SHOWN
        ? `The first ${SHOWN} tokens are shown.`
        : "Point at a token, or step through them with the arrow keys.";
    this.folded.refresh();
  }

  #describe(index) {
    const { id, bytes } = this.tokens[index];
    const size = bytes.length === 1 ? "1 byte" : `${bytes.length} bytes`;
    this.detail.replaceChildren(
      `token ${index + 1} of ${this.tokens.length}: `,
      make("code", {}, visible(bytes)),
      `, id ${id}, ${size}: `,
      make("code", {}, hex(bytes)),
    );
  }

  #table() {
    const rows = this.tokens
      .slice(0, TABULATED)
      .map(({ id, bytes }, i) => [String(i + 1), visible(bytes), String(id), hex(bytes)]);
    const caption =
      this.tokens.length > TABULATED ? `The first ${TABULATED} tokens of ${this.name}` : `Tokens of ${this.name}`;
    return table(caption, ["Place", "Token", "Id", "Bytes"], rows);
  }
}

export async function start(content, { sizes }) {
  const settings = { text: EXAMPLES.English, special: "", ...settingsFromAddress("tokenizer") };
  const { row, box: text } = textBox("Your text", { value: settings.text, maxLength: 20_000, rows: 3, dir: "auto" });
  const special = make("input", { type: "checkbox", checked: Boolean(settings.special) });
  const { line, say } = announcer();
  const { link, set } = permalink("tokenizer");
  const summary = make("div");
  const bytes = JSON.parse(sizes);
  const encodings = Object.keys(ENCODINGS).map((name) => new Encoding(name, bytes[name], update));

  function update() {
    const ready = encodings.filter(({ tokenize }) => tokenize);
    ready.forEach((encoding) => encoding.show(text.value, special.checked));
    const nBytes = new TextEncoder().encode(text.value).length;
    const nCharacters = [...text.value].length;
    const rate = (n, total) => (total ? (n / total).toFixed(2) : "–");
    const rows = ready.map(({ name, tokens }) => [
      name,
      tokens.length.toLocaleString("en"),
      rate(nBytes, tokens.length),
      rate(nCharacters, tokens.length),
    ]);
    summary.replaceChildren(
      table(
        `${nCharacters.toLocaleString("en")} characters, ${nBytes.toLocaleString("en")} bytes in UTF-8`,
        ["Encoding", "Tokens", "Bytes a token", "Characters a token"],
        rows,
      ),
    );
    say(ready.map(({ name, tokens }) => `${name}: ${tokens.length} tokens`).join("; "));
    set({ text: text.value, ...(special.checked && { special: "1" }) });
  }

  text.addEventListener("input", update);
  special.addEventListener("change", update);
  const example = select(
    "Example",
    Object.keys(EXAMPLES).map((name) => [name, name]),
    "English",
    (name) => {
      text.value = EXAMPLES[name];
      update();
    },
  );
  await encodings[0].load();
  content.append(
    row,
    make(
      "div",
      { className: "controls" },
      example,
      field("Read <|endoftext|> as one special token", special, "field check"),
    ),
    line,
    summary,
    ...encodings.map(({ section }) => section),
    make("p", {}, link),
  );
  update();
}
