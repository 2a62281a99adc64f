// What a page knows of the language models that its cells use. model_storage.mjs, which stores them, comes only with such cells.

const LIST = new URL("../assets/vendor/runtime.json", import.meta.url);

const known = new Map(); // by name: {title, memory, missing, stored}, in megabytes
const held = new Set(); // names of models that Python has in memory

// `data-models` of a cell, as a list. Until the browser's storage has been looked at, all is missing.
export const modelsOf = (text) =>
  (text?.split(" ") ?? []).map((model) => {
    const [name, title, size, memory] = model.split(":");
    return { name, title, missing: Number(size), memory: Number(memory) };
  });

// Adds models; returns their names.
export function add(models) {
  for (const { name, ...model } of models) if (!known.has(name)) known.set(name, { name, stored: 0, ...model });
  return models.map(({ name }) => name);
}

export const states = (names) => names.map((name) => known.get(name));

// Looks at what is stored; resolves when the states are true.
export async function look() {
  if (!known.size) return;
  try {
    const [list, { megabytes, missingFiles }] = await Promise.all([fetch(LIST).then((response) => response.json()), import("./model_storage.mjs")]);
    for (const model of list.models) {
      if (!known.has(model.name)) continue;
      const missing = megabytes(await missingFiles(model));
      const stored = megabytes(model.files) - missing;
      Object.assign(known.get(model.name), { missing: held.has(model.name) ? 0 : missing, stored });
    }
  } catch {} // no connection: a run says so
}

export const hold = (names) => names.forEach((name) => held.add(name));
export const release = () => held.clear();

export async function remove(names) {
  const store = await import("./model_storage.mjs");
  for (const name of names) await store.remove({ name });
}
