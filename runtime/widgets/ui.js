// The few controls that the widgets share. All are plain elements with a label.

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

let n = 0;

// A control under its label; `control` may be any form element.
export function field(label, control, className = "field") {
  control.id ||= `widget-${n++}`;
  return make("p", { className }, make("label", { htmlFor: control.id }, label), control);
}

// A box for text. A link may bring more than a reader could type: the rest is cut, and a line says so.
export function textBox(label, { value, maxLength, ...properties }) {
  const kept = value.slice(0, maxLength).replace(/[\ud800-\udbff]$/, ""); // no half of a character
  const box = make("textarea", { spellcheck: false, maxLength, value: kept, ...properties });
  const row = field(label, box);
  if (value.length > maxLength) {
    const note = `The link has ${whole(value.length)} characters of text; only the first ${whole(maxLength)} are used.`;
    row.append(make("small", {}, note));
  }
  return { row, box };
}

// A number within a range, whatever an address holds.
export const within = (value, min, max, otherwise) =>
  Number.isFinite(Number(value ?? NaN)) ? Math.min(max, Math.max(min, Number(value))) : otherwise;

// A slider that shows its value in words. `onInput` is called with the number.
export function slider(label, { min, max, step, value, format = (x) => String(x) }, onInput) {
  const input = make("input", { type: "range", min, max, step, value });
  const shown = make("span", { className: "value" });
  const show = () => {
    shown.textContent = format(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    show();
    onInput(Number(input.value));
  });
  show();
  const row = field(label, input, "field slider");
  row.append(shown);
  return row;
}

export function select(label, options, value, onChange) {
  const list = make("select", {}, ...options.map(([key, text]) => make("option", { value: key, textContent: text })));
  list.value = value;
  list.addEventListener("change", () => onChange(list.value));
  return field(label, list);
}

export function button(text, onClick) {
  const element = make("button", { type: "button", className: "md-button", textContent: text });
  element.addEventListener("click", onClick);
  return element;
}

// A table whose first column heads its rows. Cells are text or nodes; a box around it scrolls, by keyboard too.
export function table(caption, head, rows) {
  const cell = (tag, scope) => (content) => make(tag, scope ? { scope } : {}, content);
  const body = rows.map(([first, ...rest]) => make("tr", {}, cell("th", "row")(first), ...rest.map(cell("td"))));
  const box = make(
    "div",
    { className: "table-scroll" },
    make(
      "table",
      {},
      make("caption", { textContent: caption }),
      make("thead", {}, make("tr", {}, ...head.map(cell("th", "col")))),
      make("tbody", {}, ...body),
    ),
  );
  requestAnimationFrame(() => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  });
  return box;
}

// A folded block whose content is made when it is opened, and again by `refresh`.
export function folded(summary, build) {
  const content = make("div");
  const details = make("details", {}, make("summary", { textContent: summary }), content);
  const refresh = () => details.open && content.replaceChildren(build());
  details.addEventListener("toggle", refresh);
  return { details, refresh };
}

// A line that screen readers read when it changes, once the reader's hand rests.
export function announcer() {
  const line = make("output", { className: "result" });
  line.setAttribute("aria-live", "polite");
  let timer;
  const say = (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => (line.textContent = text), 300);
  };
  return { line, say };
}

// One stop on the way of the Tab key; arrow keys, Home and End lead from button to button.
export function roving(box, onFocus) {
  const items = [...box.querySelectorAll("button")];
  items.forEach((item, index) => {
    item.tabIndex = index ? -1 : 0;
    item.addEventListener("mouseenter", () => onFocus(index));
    item.addEventListener("focus", () => {
      items.forEach((other) => (other.tabIndex = other === item ? 0 : -1));
      onFocus(index);
    });
  });
  box.onkeydown = (event) => {
    const at = items.indexOf(event.target);
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: items.length - 1,
    };
    if (at < 0 || !(event.key in to)) return;
    event.preventDefault();
    items[to[event.key]]?.focus();
  };
}

// What a token's bytes say, with what cannot be seen made visible.
export function visible(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  if (text.includes("\ufffd")) return [...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return text.replace(/\n/g, "⏎").replace(/\r/g, "␍").replace(/\t/g, "⇥").replace(/ /g, "·");
}

export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

// ---- numbers --------------------------------------------------------------------------------------------------

const digits = (x) => x.toLocaleString("en", { maximumSignificantDigits: 3 });

function inUnits(x, units) {
  const [size, name] = units.find(([size]) => x >= size) ?? units.at(-1);
  return `${digits(x / size)}\u00a0${name}`.trim();
}

export const percent = (p) => `${(100 * p).toFixed(1)}%`;

// A fraction as a number over a bar.
export function bar(p, text = percent(p)) {
  const element = make("span", { className: "bar" }, text);
  element.style.setProperty("--share", p);
  return element;
}

export const whole = (x) => Math.round(x).toLocaleString("en");
export const inBytes = (x) =>
  inUnits(x, [
    [1e12, "TB"],
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
    [1, "bytes"],
  ]);
export const inWords = (x) =>
  inUnits(x, [
    [1e12, "trillion"],
    [1e9, "billion"],
    [1e6, "million"],
    [1, ""],
  ]);

export function power(x) {
  const [factor, exponent] = x.toExponential(2).split("e");
  const raised = String(Number(exponent)).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻");
  return `${Number(factor)} × 10${raised}`;
}

// ---- links to what the reader sees -----------------------------------------------------------------------------

// Settings in the fragment of the address, "#name?key=value": a link to what the reader sees.
export function settingsFromAddress(name) {
  const [found, query] = location.hash.slice(1).split(/\?(.*)/s);
  return found === name ? Object.fromEntries(new URLSearchParams(query)) : {};
}

const LINK = "Link to these settings";

export function permalink(name) {
  const link = make("a", { className: "permalink" });
  const set = (settings) => {
    link.href = `#${name}?${new URLSearchParams(settings)}`;
    link.textContent = LINK;
  };
  // The theme would take it for a way to another page, and fetch this one anew.
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    history.replaceState(history.state, "", link.href);
    link.textContent = `${LINK}: now in the address bar`;
  });
  return { link, set };
}
