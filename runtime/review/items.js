// Questions and exercises on a page that is not their own.

import { BASE, make } from "../page.js";

// A question or an exercise as its page has it.
export async function itemAt({ id, at }) {
  const address = new URL(`${at}/`, BASE);
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address.pathname} could not be fetched: the host answered ${response.status}.`);
  const element = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(id);
  for (const link of element.querySelectorAll("[href], [src]")) {
    for (const name of ["href", "src"]) {
      if (link.hasAttribute(name)) link.setAttribute(name, new URL(link.getAttribute(name), address));
    }
  }
  return document.importNode(element, true);
}

// A question as a form that tells `onJudged` whether an answer is right.
export async function form(question, onJudged) {
  await loadQuiz();
  for (const variant of question.querySelectorAll(".variant")) variant.querySelector("strong").remove(); // its number on its page
  const quiz = make("div", { className: "quiz" }, question);
  quiz.dataset.ready = "";
  buildQuestion(question, onJudged);
  return quiz;
}
