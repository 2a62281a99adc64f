// What the search box shows for a query: pages, each with its sections, in the form that the theme renders.

import { Engine } from "./engine.mjs";
import { excerpt, finder, mark } from "./excerpt.mjs";

const MOST_PAGES = 20;
const MOST_SECTIONS = 5; // of a page

const label = (part) => part && ` <small>${part}</small>`;

// The rest of the word that is being typed, from the heading of a good result.
function suggest(query, titles) {
  const typed = /[\p{L}\p{N}]+$/u.exec(query)?.[0];
  if (!typed) return [];
  const word = new RegExp(`(?<![\\p{L}\\p{N}])${typed}(\\p{Ll}+)`, "iu");
  const rest = titles.map((title) => word.exec(title)?.[1]).find(Boolean);
  return rest ? [typed + rest] : [];
}

export class Answers {
  constructor(docs) {
    const { pages, sections, index } = JSON.parse(docs);
    this.pages = pages.map(([location, title, part]) => ({ location, title, part }));
    this.sections = sections.map(([page, anchor, title, text, weight]) => ({ page, anchor, title, text, weight }));
    this.engine = new Engine(index, this.sections);
  }

  answer(query) {
    const { results, ...asked } = this.engine.search(query);
    const groups = new Map(); // by page
    for (const result of results) {
      const { page } = this.sections[result.id];
      if (!groups.has(page) && groups.size < MOST_PAGES) groups.set(page, []);
      if (groups.get(page)?.length < MOST_SECTIONS) groups.get(page).push(result);
    }
    const items = [...groups].map(([page, found]) => {
      const hasPage = found.some(({ id }) => !this.sections[id].anchor);
      return [...found.map((result) => this.#section(result, asked)), ...(hasPage ? [] : [this.#page(page, asked)])];
    });
    return { items, suggest: suggest(query, results.slice(0, 5).map(({ id }) => this.sections[id].title)) };
  }

  #section({ id, score, terms, matched }, { words, wanted }) {
    const { page, anchor, title, text } = this.sections[id];
    const { location, part } = this.pages[page];
    const find = finder(wanted, terms);
    // The page marks what is true, and the result names what is false as missing. A letter is everywhere.
    const known = words.filter((word) => word.length > 2).map((word) => [word, matched.includes(word)]);
    return {
      location: anchor ? `${location}#${anchor}` : location,
      title: mark(title, find) + (anchor ? "" : label(part)),
      text: text && `<p>${excerpt(text, find)}</p>`,
      score,
      terms: Object.fromEntries(known),
    };
  }

  #page(page, { wanted }) {
    const { location, title, part } = this.pages[page];
    return { location, title: mark(title, finder(wanted, [])) + label(part), text: "", score: 0, terms: {} };
  }
}
