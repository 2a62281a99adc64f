// Which cells of a page have left their names in the back end, and which must run before another one.

const pages = new Map(); // of each page, by number: the code that ran, when, and since when it is this code
let clock = 0; // counts runs

export const forgetAll = () => pages.clear();

export function note({ page, number }, code) {
  if (!pages.has(page)) pages.set(page, new Map());
  const was = pages.get(page).get(number);
  const at = ++clock;
  pages.get(page).set(number, { code, at, changed: was?.code === code ? was.changed : at });
}

// A run that fails leaves some names changed and others not.
export const forget = ({ page, number }) => pages.get(page)?.delete(number);

// The cells, of one page and in order, from the first on that has not run with the code that it has now, or that ran
// before a change to one above it.
export function pending(cells) {
  let changed = 0;
  const first = cells.findIndex(({ page, number, text }) => {
    const run = pages.get(page)?.get(number);
    if (run?.code !== text || run.at < changed) return true;
    changed = Math.max(changed, run.changed);
    return false;
  });
  return first < 0 ? [] : cells.slice(first);
}
