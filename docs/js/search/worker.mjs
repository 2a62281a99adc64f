// Answers the theme's search box, in place of the theme's worker and with its messages.

import { Answers } from "./answers.mjs";

const [SETUP, READY, QUERY, RESULT] = [0, 1, 2, 3];
let answers, newest;

// Whoever types faster than this answers sees the answer to the newest query only.
function answerNewest() {
  const query = newest;
  newest = undefined;
  postMessage({ type: RESULT, data: answers.answer(query) });
}

addEventListener("message", ({ data: { type, data } }) => {
  if (type === SETUP) {
    answers = new Answers(data.docs);
    postMessage({ type: READY });
  } else if (type === QUERY) {
    if (newest === undefined) setTimeout(answerNewest);
    newest = data;
  }
});
