// When a card is due next: FSRS-6 with its default parameters. Bundled by site_tools/tab/tab_assets.py, and loaded with the first answer.

import { fsrs } from "ts-fsrs";

const DAY = 86_400_000; // ms
const scheduler = fsrs({ enable_fuzz: false });

// `card` is {stability, difficulty, reviewed, due}, or undefined before its first answer; `rating` is 1 to 4, Again to Easy.
export function review(card, rating, now) {
  const days = card ? Math.max(0, Math.floor((now - card.reviewed) / DAY)) : 0;
  const { stability, difficulty } = scheduler.next_state(card ?? null, days, rating);
  return { stability, difficulty, reviewed: now, due: now + scheduler.next_interval(stability, days) * DAY };
}
