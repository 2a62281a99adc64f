// What a run gave, as elements of the page, and whether it equals what the page stores. Loaded with the first run.

import { make } from "./page.js";
import { chart } from "./widgets/chart.js";

const VERDICTS = {
  equal: ": equal to the stored output",
  close: ": equal to the stored output, up to the last digit",
  different: ": differs from the stored output",
};
const NUMBER = /[-+]?\d+(?:,\d{3})*(?:\.\d*)?(?:[eE][-+]?\d+)?/g;

// ---- comparing, as site_tools/agreement.py does at build time ---------------------------------------------------------

// Worth of the last printed digit; 0 for an integer, which must be exact.
function unit(number) {
  const [mantissa, exponent] = number.toLowerCase().split("e");
  if (!mantissa.includes(".") && exponent === undefined) return 0;
  return 10 ** (Number(exponent ?? 0) - (mantissa.split(".")[1] ?? "").length);
}

const value = (number) => Number(number.replaceAll(",", ""));

// "equal", "close" (floats differ by no more than one unit of their last digit, numbers after ≈ by a factor of no more
// than two) or "different".
export function compare(stored, computed) {
  if (stored === computed) return "equal";
  if (stored.replace(NUMBER, "#") !== computed.replace(NUMBER, "#")) return "different";
  const [a, b] = [stored, computed].map((text) => [...text.matchAll(NUMBER)]);
  const agrees = ({ 0: x, index }, [y]) => {
    if (x === y || Math.abs(value(x) - value(y)) <= 1.001 * Math.min(unit(x), unit(y))) return true;
    const ratio = value(x) / value(y);
    return stored[index - 1] === "≈" && ratio >= 0.5 && ratio <= 2;
  };
  return a.every((x, i) => agrees(x, b[i])) ? "close" : "different";
}

// As a page stores an output: no blank lines around it, and no blanks at the ends of lines.
export const tidy = (text) => text.replace(/^\n+|\n+$/g, "").replace(/[ \t\r]+$/gm, "");

// ---- figures ------------------------------------------------------------------------------------------------------

// What the guide's helpers draw follows the palette and stands in the page; a plot of pyplot brings a style sheet, which
// would apply to the whole page, so that it is kept in an image.
export function figure({ svg, alt, caption }) {
  const drawn = svg.startsWith("<svg")
    ? document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true)
    : make("img", { src: `data:image/svg+xml,${encodeURIComponent(svg)}`, alt });
  return make("figure", { className: "computed-figure" }, drawn, ...(caption ? [make("figcaption", {}, ...inline(caption))] : []));
}

// ---- tables -------------------------------------------------------------------------------------------------------

const cellsOf = (line) => line.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim());

// `code` and **bold**; formulas and citations stay as they are written, unless a stored cell shows them.
function inline(markdown) {
  return markdown.split(/(`[^`]+`|\*\*[^*]+\*\*|\$[^$]+\$)/).map((part) => {
    if (/^[`$]/.test(part) && part.length > 1) return make("code", { textContent: part.slice(1, -1) });
    if (part.startsWith("**")) return make("strong", { textContent: part.slice(2, -2) });
    return part.replaceAll("\\|", "|");
  });
}

// Pairs the Markdown of a stored table with its cells in the page, so that equal Markdown gives equal cells.
function known(markdown, table) {
  const lines = markdown.split("\n").filter((line) => line.startsWith("|"));
  const rows = table ? [...table.rows] : [];
  const found = new Map();
  lines.toSpliced(1, 1).forEach((line, y) => {
    cellsOf(line).forEach((source, x) => rows[y]?.cells[x] && found.set(`${y ? "" : "head"}${source}`, rows[y].cells[x]));
  });
  const caption = markdown.match(/^Table: (.+)/m);
  if (caption && table?.caption) found.set(caption[0], table.caption);
  return found;
}

// The Markdown that a table fence printed. `stored` is the Markdown that the page stores, `shown` the table made of it.
export function tables(markdown, stored, shown) {
  const cells = known(stored, shown);
  return markdown.split(/\n\n(?!Table: )/).map((block) => {
    const lines = block.split("\n").filter((line) => line.startsWith("|"));
    if (lines.length < 2) return make("p", {}, ...inline(block));
    const [head, marks, ...body] = lines.map(cellsOf);
    const right = marks.map((mark) => mark.endsWith(":"));
    const row = (sources, y) =>
      make("tr", {}, ...sources.map((source, x) => {
        const like = cells.get(`${y ? "" : "head"}${source}`);
        const element = like ? like.cloneNode(true) : tableCell(source, y, x);
        element.style.textAlign = right[x] ? "right" : "left";
        return element;
      }));
    const table = make("table", {}, make("thead", {}, row(head, 0)), make("tbody", {}, ...body.map((line) => row(line, 1))));
    const caption = block.match(/^Table: (.+)/m);
    if (caption) {
      const like = cells.get(caption[0]);
      table.prepend(make("caption", {}, ...(like ? [...like.cloneNode(true).childNodes] : inline(caption[1]))));
    }
    const frame = make("div", { className: "table-scroll", tabIndex: 0 }, table);
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Computed table");
    return frame;
  });
}

function tableCell(source, y, x) {
  const bold = source.match(/^\*\*(.+)\*\*$/);
  if (y && x === 0 && bold) return make("th", { scope: "row" }, ...inline(bold[1]));
  if (!y && source) return make("th", { scope: "col" }, ...inline(source));
  return make("td", {}, ...inline(source));
}

// ---- what llmguide.runs.tab emits ------------------------------------------------------------------------------------

// The last chart, and a link for each file.
export function emitted(data) {
  const last = data.findLast((value) => value?.chart)?.chart;
  const files = data.filter((value) => value?.file);
  return [
    ...(last ? [make("figure", { className: "cell-chart" }, chart({ ...last, series: [{ name: "", points: last.points, style: "line" }] }))] : []),
    ...(files.length ? [make("p", { className: "cell-files" }, ...files.map(link))] : []),
  ];
}

function link({ file, base64 }) {
  const content = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const href = URL.createObjectURL(new Blob([content]));
  return make("a", { href, download: file, textContent: `Download ${file}` });
}

// ---- the whole result ---------------------------------------------------------------------------------------------

export const textBlock = (text, kind = "") =>
  make("div", { className: `highlight output ${kind}` }, make("pre", {}, make("code", { textContent: text })));

// The elements that show the result of a cell, and in words how it compares with what the page stores. With `isEdited`,
// of this cell or one above it, a difference is what the reader wants.
export function render({ stdout, stderr, error, figures, markdown, data, ok, stopped, lost }, cell, isEdited) {
  const raises = cell.kind === "raises" && cell.edited === null && !stopped && !lost; // stored as what is printed, and the error's last line
  const text = raises ? `${stdout}${error}` : stdout;
  const blocks = [
    ...(stderr ? [textBlock(stderr, "stderr")] : []),
    ...(text ? [textBlock(text)] : []),
    ...figures.map(figure),
    ...emitted(data),
    ...(markdown ? tables(markdown, cell.markdown, cell.stored.map((it) => it.querySelector("table")).find(Boolean)) : []),
  ];
  if (!raises && !ok) {
    return { blocks: [...blocks, textBlock(stopped ? "Stopped." : error, "error")], verdict: ": an error", failed: true };
  }
  const was = cell.fold ? cell.markdown : cell.stored.map((it) => it.querySelector("code").textContent).join("");
  if (cell.kind === "figure" || !(was || text)) return { blocks, verdict: "" };
  const found = compare(tidy(was), tidy(cell.fold ? markdown : text));
  return { blocks, verdict: isEdited && found === "different" ? "" : VERDICTS[found], equal: found === "equal" };
}
