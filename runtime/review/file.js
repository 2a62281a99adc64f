// The reader's records as one file to take along. A file of an earlier version has to open in every later one.

const FORMAT = "llmguide progress";
const VERSION = 2; // 2 added the records of the kind placement

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

export function exported() {
  const records = Object.fromEntries(Object.keys(kept.KINDS).map((kind) => [kind, kept.read(kind)]));
  return `${JSON.stringify({ format: FORMAT, version: VERSION, written: new Date().toISOString(), records }, null, 1)}\n`;
}

// The records of a file. Throws an Error that says what is wrong with it.
export function parsed(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("The file is not complete JSON. It may have been cut off when it was copied.");
  }
  if (file?.format !== FORMAT) throw new Error("The file was not exported by this guide.");
  if (!Number.isInteger(file.version) || file.version < 1) throw new Error("The file does not say which version it has.");
  if (file.version > VERSION) throw new Error(`The file has version ${file.version}, and this page reads only up to version ${VERSION}. Reload the page.`);
  if (!isTable(file.records)) throw new Error("The file has no records.");
  for (const [kind, entries] of Object.entries(file.records)) {
    if (!Object.hasOwn(kept.KINDS, kind)) throw new Error(`The file has records of an unknown kind, “${kind}”.`);
    if (!isTable(entries)) throw new Error(`The records of the kind “${kind}” are no table.`);
    const wrong = Object.entries(entries).find(([, value]) => !kept.KINDS[kind](value));
    if (wrong) throw new Error(`The value of “${wrong[0]}” in “${kind}” is damaged: ${JSON.stringify(wrong[1])}.`);
  }
  return file.records;
}

// Adds the records of a file to those of this browser. Where both have an entry, this browser's stays, but of two cards
// the one that was reviewed last.
export function add(records) {
  for (const [kind, entries] of Object.entries(records)) {
    const here = kept.read(kind);
    const isNewer = ([name, value]) => !Object.hasOwn(here, name) || (kind === "cards" && value.reviewed > here[name].reviewed);
    kept.change(kind, Object.fromEntries(Object.entries(entries).filter(isNewer)));
  }
}
