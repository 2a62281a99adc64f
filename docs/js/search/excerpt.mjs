// What of a section stands in the results: as HTML, with the words that were found marked.

import { join, split, stem, turns } from "./words.mjs";

const LENGTH = 220; // characters
const LEAD = 60; // before the first word that was found, if its sentence is long

const escaped = (text) => text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

/** A function that tells which of the wanted words a word is. Terms are of the index; misspelled, only they tell. */
export function finder(wanted, terms) {
  const stems = new Map(wanted.map((word) => [stem(word), word]));
  const starts = wanted.filter((word) => word.length > 2);
  const alike = new Set(terms.filter((term) => term.length > 4));
  return (written) => {
    const word = written.toLowerCase();
    const start = starts.find((one) => word.startsWith(one));
    return stems.get(stem(word)) ?? start ?? (alike.has(word) ? word : undefined);
  };
}

const tag = (word) => `<mark>${word}</mark>`;

function markCompound(compound, find) {
  if (find(join(compound))) return tag(compound);
  return compound.replace(/[\p{L}\p{N}]{2,}/gu, (part) => (find(part) ? tag(part) : part));
}

/** A text with the words marked that are found. */
export function mark(text, find) {
  return turns(text)
    .map((turn, i) => (i % 2 ? markCompound(turn, find) : escaped(turn)))
    .join("");
}

function count(sentence, find) {
  const words = turns(sentence).flatMap((turn, i) => (i % 2 ? split(turn) : []));
  return new Set(words.map(find).filter(Boolean)).size;
}

/** The part of a text that has most of the wanted words, from the start of a sentence if that is near. */
export function excerpt(text, find) {
  const sentences = text.split(/(?<=[.!?])\s+/);
  const counts = sentences.map((sentence) => count(sentence, find));
  let part = sentences.slice(counts.indexOf(Math.max(...counts))).join(" ");
  const first = mark(part, find).indexOf("<mark>");
  if (first > LENGTH - LEAD) part = `… ${part.slice(part.indexOf(" ", first - LEAD) + 1)}`;
  if (part.length > LENGTH) part = `${part.slice(0, part.lastIndexOf(" ", LENGTH))} …`;
  return mark(part, find);
}
