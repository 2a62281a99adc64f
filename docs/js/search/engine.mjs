// What the index holds, and how it is searched. The build makes the index, the worker searches it.

import MiniSearch from "minisearch";
import { compounds, isName, isStopWord, join, pairs, parts, split, stem } from "./words.mjs";

const FIELDS = { title: 5, words: 4, page: 0.5, text: 1, more: 0.4 };
const BM25 = { k: 1.2, b: 0.2, d: 0.5 }; // b: a section with many words for it is not a worse one
const PRECISE = new Set(["title", "words"]); // these know a word's ending and its neighbor
const EXACT = 1.3; // factor for the whole heading
const MOST_COMPOUNDS = 12; // of a query: a page that is pasted says no more

// Two words in a row, apart from words, which would else be found as its start.
const phrase = (pair) => `+${pair}`;

function tokenize(text, field) {
  const found = compounds(text);
  return [...found.flatMap(split), ...(PRECISE.has(field) ? pairs(found).map(phrase) : [])];
}

function processTerm(word, field) {
  if (word.startsWith("+")) return word;
  if (PRECISE.has(field)) return [...new Set([word, stem(word)])];
  return isStopWord(word) || (field === "more" && /^\d/.test(word)) ? null : stem(word);
}

const OPTIONS = { fields: Object.keys(FIELDS), tokenize, processTerm };

/** The index of sections, each of which has a text for each field. */
export function build(sections) {
  const index = new MiniSearch(OPTIONS);
  index.addAll(sections.map((section, id) => ({ ...section, id })));
  return index.toJSON();
}

const term = (text, weight, options) => ({
  queries: [text],
  tokenize: (same) => [same],
  processTerm: (same) => same,
  boostTerm: () => weight,
  ...options,
});

// A word is found as it is typed, as the start of a word, misspelled, and with another ending. In a text every letter
// is the start of something.
function ways(word, weight, alone) {
  if (/^[a-z]$/.test(word)) return [term(word, weight, { prefix: alone, fields: [...PRECISE] })];
  const typed = { prefix: word.length > 2 || alone, fuzzy: word.length > 4 && 0.2, maxFuzzy: 1 };
  const ending = stem(word) === word ? [] : [term(stem(word), 0.7 * weight)];
  return [term(word, weight, typed), term(phrase(word), weight), ...ending];
}

/** What is searched for: the words that count, names of code, and words as they are written together. */
function read(query) {
  const found = compounds(query).slice(0, MOST_COMPOUNDS);
  const all = [...new Set(found.flatMap(parts))];
  return {
    words: all.every(isStopWord) ? all : all.filter((word) => !isStopWord(word)),
    names: found.filter(isName),
    joined: [...found.filter((compound) => !isName(compound) && parts(compound).length > 1).map(join), ...pairs(found)],
  };
}

export class Engine {
  constructor(index, sections) {
    this.index = MiniSearch.loadJS(index, OPTIONS);
    this.sections = sections;
  }

  /** Sections, the best first: each with its number, its score, and the words of the query that it has. */
  search(query) {
    const { words, names, joined } = read(query);
    const inNames = new Set(names.flatMap(parts));
    const queries = [
      ...words.flatMap((word) => ways(word, inNames.has(word) ? 0.2 : 1, words.length === 1)),
      ...names.map((name) => term(name, 4, { prefix: true })),
      ...joined.flatMap((word) => [term(word, 1, { prefix: true }), term(phrase(word), 1, { prefix: true })]),
    ];
    const wanted = [...words, ...joined, ...names];
    if (!queries.length) return { words, wanted, results: [] };
    const boostDocument = (id) => this.#weight(id, query.trim().replace(/\(.*/, ""));
    const options = { queries, boostDocument, boost: FIELDS, bm25: BM25, weights: { prefix: 0.5, fuzzy: 0.2 } };
    const results = this.index.search(options).map(({ id, score, terms, queryTerms }) => {
      const matched = words.filter((word) => queryTerms.includes(word) || queryTerms.includes(stem(word)));
      return { id, terms, matched, score: score * ((1 + matched.length) / (1 + words.length)) ** 1.5 };
    });
    return { words, wanted, results: results.sort((a, b) => b.score - a.score) };
  }

  // A section that is called what was typed counts more, and one of the code as much as one of a chapter.
  #weight(id, typed) {
    const { title, weight } = this.sections[id];
    if ((title === typed || title.endsWith(`.${typed}`)) && /[_.]|[a-z][A-Z]|[A-Z]{2}[a-z]/.test(typed)) return 1;
    return title.toLowerCase() === typed.toLowerCase() ? EXACT * weight : weight;
  }
}
