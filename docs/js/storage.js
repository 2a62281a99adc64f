// What the guide keeps in the reader's browser: for each kind of record, its entries as JSON. Nothing is sent anywhere.
// Every page loads it before the scripts that use it, modules among them.

globalThis.kept = (() => {
  const PREFIX = "llmguide.";
  const SPARE = "~"; // ends the key of a second copy
  const followers = [];
  const isNumber = Number.isFinite;
  const isBoolean = (value) => typeof value === "boolean";
  // What an entry of each kind is. Whatever else another script has stored there is left out.
  const KINDS = {
    quiz: isBoolean, // {question: right at the last try?}
    exercises: isBoolean, // {exercise: solved}
    drafts: (value) => typeof value === "string", // {exercise: code}
    ticked: isBoolean, // {step of a checklist: done}
    read: isBoolean, // {page: read to its end}
    run: isBoolean, // {page/cell: ran}
    placement: isBoolean, // {question: right when it placed the reader?}
    cards: (value) => ["stability", "difficulty", "reviewed", "due"].every((name) => isNumber(value?.[name])), // review/cards.js
  };

  function entriesOf(text) {
    try {
      const found = JSON.parse(text);
      return found !== null && typeof found === "object" && !Array.isArray(found) ? Object.entries(found) : null;
    } catch {
      return null;
    }
  }

  // Where a write was interrupted, one of the two copies is whole.
  function read(kind) {
    try {
      const found = entriesOf(localStorage.getItem(PREFIX + kind)) ?? entriesOf(localStorage.getItem(PREFIX + kind + SPARE)) ?? [];
      return Object.fromEntries(found.filter(([, value]) => KINDS[kind](value)));
    } catch {
      return {}; // storage is switched off: records last as long as the page
    }
  }

  // Sets the entries given, and removes those that are undefined.
  function change(kind, entries) {
    const key = PREFIX + kind;
    try {
      const text = JSON.stringify({ ...read(kind), ...entries });
      localStorage.setItem(key + SPARE, text);
      localStorage.setItem(key, text);
      localStorage.removeItem(key + SPARE);
    } catch {}
    for (const show of followers) show(kind);
  }

  // Another tab has changed records: `show` is told which kind, or null when all were removed.
  function watch(show) {
    addEventListener("storage", ({ key }) => {
      if (key === null || (key.startsWith(PREFIX) && key.slice(PREFIX.length) in KINDS)) show(key?.slice(PREFIX.length) ?? null);
    });
  }

  // This tab has changed records, or another.
  function follow(show) {
    followers.push(show);
    watch(show);
  }

  return { KINDS, read, change, watch, follow };
})();
