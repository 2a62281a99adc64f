// The page on which cards are reviewed: one after the other, answered in place.

import { Exercise } from "../exercises.js";
import { BASE, make } from "../page.js";
import { form, itemAt } from "./items.js";
import { adopt, AGAIN, cards, EASY, GOOD, HARD, isDue, preview, rate } from "./cards.js";

const DAY = 86_400_000; // ms
const days = ({ due }) => Math.round((due - Date.now()) / DAY);
const inDays = (card) => (days(card) === 1 ? "1 day" : `${days(card)} days`);

class Review {
  constructor(box) {
    this.box = box;
    this.empty = [...box.children]; // what the page says while there are no cards
    this.count = make("output", { tabIndex: -1 });
    this.count.setAttribute("aria-live", "polite");
    this.card = make("div", { className: "card" });
    this.skipped = new Set();
    this.current = null;
    box.prepend(make("p", { className: "score" }, this.count), this.card);
  }

  async start() {
    await adopt();
    await this.next();
  }

  async recount() {
    this.all = await cards();
    this.due = this.all.filter(isDue);
    for (const element of this.empty) element.hidden = this.all.length > 0;
    const [next] = this.all;
    const when = next && new Date(next.due).toLocaleDateString("en", { month: "long", day: "numeric" });
    this.count.textContent =
      this.due.length ? `${this.due.length} ${this.due.length === 1 ? "card is" : "cards are"} due`
      : next ? `Nothing is due. You have ${this.all.length} ${this.all.length === 1 ? "card" : "cards"}, and the next is due on ${when}.`
      : "";
  }

  // Shows the card that has been due for longest. `from` is what the reader pressed to get there.
  async next(from = null) {
    await this.recount();
    const waiting = this.due.filter(({ id }) => !this.skipped.has(id));
    if (!waiting.length) this.skipped.clear();
    this.current = waiting[0] ?? this.due[0] ?? null;
    this.answer = null;
    this.card.replaceChildren();
    if (!this.current) return from && this.count.focus();
    try {
      await this.show(this.current);
    } catch (error) {
      this.card.replaceChildren(make("p", { textContent: error.message }));
    }
    if (from) this.card.querySelector(".from")?.focus();
  }

  async show(item) {
    const element = await itemAt(item);
    if (this.current !== item) return;
    const chapter = make("a", { href: new URL(item.page === "index" ? "" : `${item.page}/`, BASE), textContent: item.title });
    const from = make("p", { className: "from", tabIndex: -1 }, "From ", chapter);
    this.rating = make("p", { className: "rating buttons" });
    if (element.matches(".exercise")) {
      this.card.replaceChildren(from, element, this.rating);
      new Exercise(element, { isReview: true });
      this.rating.append(this.button("I do not remember", () => this.giveUp(element)), " ");
    } else {
      this.card.replaceChildren(from, await form(element, (right) => note(item.id, right)), this.rating);
    }
    this.rating.append(this.button("Skip for now", (button) => {
      this.skipped.add(item.id);
      this.next(button);
    }));
  }

  button(text, press) {
    const button = make("button", { type: "button", className: "md-button", textContent: text });
    button.addEventListener("click", () => press(button));
    return button;
  }

  giveUp(element) {
    element.querySelector("details.success").open = true;
    dispatchEvent(new CustomEvent("llmguide:answered", { detail: { id: element.id, right: false } }));
  }

  // The rating of the first answer is stored by itself; after a right one the reader may say how hard it was.
  async judged({ id, right }) {
    if (id !== this.current?.id || this.answer) return;
    const before = this.current;
    this.answer = { id, right };
    const card = await rate(id, right ? GOOD : AGAIN, before);
    const words = make("span", { textContent: `Noted as ${right ? "Good" : "Again"}, due again in ${inDays(card)}. ` });
    words.setAttribute("role", "status");
    const buttons = [this.button("Next card", (button) => this.next(button))];
    for (const [name, other] of right ? [["Hard", HARD], ["Easy", EASY]] : []) {
      buttons.push(" ", this.button(`${name}: ${inDays(await preview(before, other))}`, async (button) => {
        await rate(id, other, before);
        this.next(button);
      }));
    }
    this.rating.replaceChildren(words, ...buttons);
    await this.recount();
  }

  // In another tab a card was answered.
  async changed() {
    await this.recount();
    if (!this.answer && !this.due.some(({ id }) => id === this.current?.id)) await this.next();
  }
}

let review = null; // of the page that is shown

export function build(box) {
  review = new Review(box);
  review.start();
}

addEventListener("llmguide:answered", ({ detail }) => review?.judged(detail));
kept.watch((kind) => kind === "cards" && review?.box.isConnected && review.changed());
