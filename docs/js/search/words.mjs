// How text is split into words, for the index, for a query and for what is marked in a result.

import { stemmer } from "stemmer";

const stems = new Map();

/** A word without its ending. */
export function stem(word) {
  if (!stems.has(word)) stems.set(word, stemmer(word));
  return stems.get(word);
}

const COMPOUND = /([\p{L}\p{N}]+(?:[-_.@'’/][\p{L}\p{N}]+)*)/u;
const PART = /[\p{L}\p{N}]+/gu;
const STOP = new Set(
  `a about an and are as at be by can do does for from get how i if in is it its me my of on or should so than that the
  this to use was we what when where which who why will with you your`.split(/\s+/),
);

export const isStopWord = (word) => STOP.has(word);
export const isName = (compound) => /[_.]/.test(compound);

/** Texts between compounds, and compounds, in turns. */
export const turns = (text) => text.split(COMPOUND);

export const compounds = (text) => turns(text.normalize("NFKC").toLowerCase()).filter((_, i) => i % 2);

export const parts = (compound) => compound.match(PART);
export const join = (compound) => (isName(compound) ? compound : parts(compound).join(""));

/** The words of a compound: top-p is top, p and topp; apply_rope is apply, rope and apply_rope. */
export const split = (compound) => [...new Set([...parts(compound), join(compound)])];

/** Two compounds in a row, as one word: what is written flash attention here is FlashAttention there. */
export const pairs = (found) => found.slice(1).map((compound, i) => found[i] + compound);
