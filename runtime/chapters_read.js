// Notes which chapters were read: those whose end was in sight.

import { pageName } from "./page.js";

const ends = new IntersectionObserver((entries) => {
  if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
  ends.disconnect();
  kept.change("read", { [pageName()]: true });
});

document$.subscribe(() => {
  ends.disconnect();
  if (/^(?:learn|code|projects)\b/.test(pageName())) ends.observe(document.querySelector("article").lastElementChild);
});
