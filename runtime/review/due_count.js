// The line above the title of the home page or of a chapter that says how many cards are due there.

import { BASE, make, pageName } from "../page.js";
import { cards, isDue } from "./cards.js";

export async function show() {
  const all = (await cards()).filter(isDue);
  const isHome = document.querySelector(".home");
  const due = isHome ? all : all.filter(({ page }) => page === pageName());
  const title = document.querySelector("article h1");
  if (!due.length || document.querySelector(".due")) return;
  const words = `${due.length} ${due.length === 1 ? "card is" : "cards are"} due`;
  title.before(make("p", { className: "due" }, make("a", { href: new URL("review/", BASE), textContent: words })));
}
