// The reader's review cards: one for each question and exercise that was answered, with when it is due.

import { bundle, fetchJson } from "../page.js";

export const AGAIN = 1, HARD = 2, GOOD = 3, EASY = 4; // the ratings of FSRS

let chapters = null;

// What each chapter has to answer; site_tools/content/course.py writes it.
export const course = () => (chapters ??= fetchJson("course.json"));

// The card as it would be with a rating of now.
export async function preview(card, rating) {
  return (await bundle("scheduler")).review(card, rating, Date.now());
}

export async function rate(id, rating, before = kept.read("cards")[id]) {
  const card = await preview(before, rating);
  kept.change("cards", { [id]: card });
  return card;
}

// The first answer of a day counts: one that follows an explanation says little about memory.
export async function answered({ id, right }) {
  const card = kept.read("cards")[id];
  if (card && new Date(card.reviewed).toDateString() === new Date().toDateString()) return;
  await rate(id, right ? GOOD : AGAIN, card);
}

// The cards of what the guide still has, the one that is due first at the start.
export async function cards() {
  const stored = kept.read("cards");
  const items = (await course()).flatMap(({ page, title, items }) => Object.entries(items).map(([id, at]) => ({ id, at, page, title })));
  return items.filter(({ id }) => id in stored).map((item) => ({ ...item, ...stored[item.id] })).sort((a, b) => a.due - b.due);
}

export const isDue = ({ due }) => due <= Date.now();

// What was answered where no card could be made: before there were cards, or with the connection lost.
export async function adopt() {
  const stored = kept.read("cards");
  const solved = Object.entries(kept.read("exercises")).map(([name, right]) => [`exercise-${name}`, right]);
  for (const [id, right] of [...Object.entries(kept.read("quiz")), ...solved]) {
    if (!(id in stored)) await rate(id, right ? GOOD : AGAIN, undefined);
  }
}
