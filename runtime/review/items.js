// Questions and exercises on a page that is not their own.

import { BASE, make } from "../page.js";

// A page of the guide whose links work from any other.
export async function documentAt(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) {
    throw new Error(`${address.pathname} could not be fetched: ${response ? `the host answered ${response.status}` : "there is no connection"}.`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const link of page.querySelectorAll("article :is([href], [src])")) {
    for (const name of ["href", "src"]) {
      if (link.hasAttribute(name)) link.setAttribute(name, new URL(link.getAttribute(name), address));
    }
  }
  return page;
}

// A question or an exercise as its page has it.
export async function itemAt({ id, at }) {
  const page = await documentAt(new URL(`${at}/`, BASE));
  return document.importNode(page.getElementById(id), true);
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
