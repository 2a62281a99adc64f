// Line charts as SVG, in the colors of the page's palette. A table beside each holds the same numbers.

const EDGE = { left: 34, right: 12, top: 18, bottom: 34 };
const NAMES = 66; // room for the names at the right
const TICKS = [1, 2, 2.5, 5, 10];

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// About five round numbers within a range.
function ticks(/** @type {number[]} */ [low, high]) {
  const rough = (high - low) / 5;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = TICKS.find((factor) => factor * unit >= rough) * unit;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step / 1e6; i++) found.push(i * step + 0); // no -0
  return found;
}

function range(values, least) {
  const low = Math.min(...values, least ?? Infinity);
  const high = Math.max(...values, least ?? -Infinity);
  const margin = (high - low || 1) * 0.05;
  return [low === least ? low : low - margin, high + margin];
}

// Series are {name, points: [[x, y], ...], style: "line" | "dashed" | "dots"}; each is named where it ends.
export function chart({ label, x, y, series, width = 460, height = 280 }) {
  const shown = series.filter(({ points }) => points.length);
  const points = shown.flatMap((each) => each.points);
  const { left, top, bottom } = EDGE;
  const right = EDGE.right + (series.some(({ name }) => name) ? NAMES : 0);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" });
  drawing.setAttribute("aria-label", label);
  if (!points.length) return drawing;
  const xs = range(
    points.map(([a]) => a),
    0,
  );
  const ys = range(points.map(([, b]) => b));
  const toX = (a) => left + ((a - xs[0]) / (xs[1] - xs[0])) * (width - left - right);
  const toY = (b) => height - bottom - ((b - ys[0]) / (ys[1] - ys[0])) * (height - top - bottom);
  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });
  for (const tick of ticks(ys)) {
    drawing.append(
      svg("line", { class: "grid", x1: left, x2: width - right, y1: toY(tick), y2: toY(tick) }),
      svg("text", { x: left - 6, y: toY(tick) + 4, "text-anchor": "end" }, number(tick)),
    );
  }
  for (const tick of ticks(xs)) {
    drawing.append(svg("text", { x: toX(tick), y: height - bottom + 16, "text-anchor": "middle" }, number(tick)));
  }
  drawing.append(
    svg("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, x),
    svg("text", { x: 0, y: 11, class: "title" }, y),
  );
  const taken = [];
  series.forEach(({ name, points, style }, index) => {
    if (!points.length) return;
    const path = points.map(([a, b], i) => `${i ? "L" : "M"}${toX(a).toFixed(1)} ${toY(b).toFixed(1)}`).join("");
    const classes = `series series-${index} ${style}`;
    if (style === "dots")
      drawing.append(...points.map(([a, b]) => svg("circle", { class: classes, cx: toX(a), cy: toY(b), r: 3 })));
    else drawing.append(svg("path", { class: classes, d: path }));
    // a name steps down where another stands already
    const [endX, endY] = points.at(-1);
    let at = toY(endY) + 4;
    while (taken.some((other) => Math.abs(other - at) < 12)) at += 12;
    taken.push(at);
    drawing.append(svg("text", { class: `name series-${index}`, x: toX(endX) + 6, y: at }, name));
  });
  return drawing;
}
