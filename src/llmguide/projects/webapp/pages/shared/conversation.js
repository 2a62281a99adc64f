// The page of an application that answers questions: answers that stream in, their passages, and feedback.

import {Refused, api, element, streamed, thumbs} from "/shared/frame.js";

const at = (id) => document.getElementById(id);
const [conversations, fresh, status, problem, form, question, stop, answers, passages, none] =
  ["conversations", "new", "status", "problem", "ask", "question", "stop", "answers", "passages", "none"].map(at);

let open = null; // the conversation on the page
let writing = null; // stops the answer that is being written

// ---- conversations ---------------------------------------------------------------------------------------

async function list() {
  const {documents} = await api("GET", "/api/documents");
  conversations.replaceChildren(
    element("option", {value: ""}, "New"),
    ...documents.map((one) => element("option", {value: one.id}, one.title)),
  );
  conversations.value = open ?? "";
  return documents;
}

async function show(id) {
  open = id || null;
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  const found = id ? (await api("GET", `/api/documents/${id}`)).answers : [];
  if (open !== (id || null)) return; // another was chosen in the meantime
  answers.replaceChildren(...found.map(card));
  showPassages(found.at(-1));
  for (const answer of found) if (answer.state === "done") support(open, answer).catch(tell);
}

// ---- answers ---------------------------------------------------------------------------------------------

const STATES = {done: "", stopped: "Stopped.", failed: "Failed.", writing: "Being written."};

function card(answer) {
  const comment = element("input", {
    className: "expert",
    maxLength: 2000,
    placeholder: "What is wrong or missing?",
    ariaLabel: "What is wrong or missing in this answer?",
    value: answer.comment ?? "",
  });
  const [like, dislike] = thumbs(answer.id, answer.verdict, tell, () => comment.value);
  const keep = element("button", {type: "button"}, "Keep comment");
  keep.addEventListener("click", async () => {
    const verdict = Number(like.ariaPressed === "true") - Number(dislike.ariaPressed === "true");
    try {
      await api("POST", `/api/answers/${answer.id}/verdict`, {verdict, comment: comment.value});
      status.textContent = "Your comment is kept";
    } catch (error) {
      tell(error);
    }
  });
  return element(
    "article",
    {className: "card", id: `answer-${answer.id}`},
    element("h3", {className: "asked"}, answer.settings.question),
    element("p", {className: "said"}, ...linked(answer)),
    element("ul", {className: "note claims", hidden: true}),
    element("p", {className: "note state"}, STATES[answer.state]),
    element("div", {className: "row"}, like, dislike, comment, keep),
  );
}

/** The text of an answer, each [number] of a passage a button that leads there. */
function linked(answer) {
  return answer.text.split(/(\[\d+\])/).map((part) => {
    const number = Number(part.match(/^\[(\d+)\]$/)?.[1]);
    if (!answer.settings.passages[number - 1]) return part;
    const button = element("button", {type: "button", className: "cited", ariaLabel: `Passage ${number}`}, part);
    button.addEventListener("click", () => showPassages(answer, number));
    return button;
  });
}

/** Says which sentences of an answer no cited passage supports. */
async function support(document, answer) {
  const {claims} = await api("POST", "/api/support", {document, answer: answer.id});
  const loose = answer.settings.passages.length ? claims.filter((claim) => !claim.supported) : [];
  const place = at(`answer-${answer.id}`)?.querySelector(".claims");
  if (!place || !loose.length) return;
  place.hidden = false;
  place.replaceChildren(...loose.map((claim) => element("li", {}, `Not in a cited passage: ${claim.text}`)));
}

function showPassages(answer, chosen) {
  const found = answer?.settings.passages ?? [];
  none.hidden = found.length > 0;
  passages.replaceChildren(
    ...found.map((passage, i) =>
      element(
        "li",
        {className: "card", id: `passage-${i + 1}`, tabIndex: -1},
        element("h3", {}, `[${i + 1}] ${passage.title || passage.document}`),
        element("p", {className: "note"}, `${passage.document}, characters ${passage.start} to ${passage.stop}`),
        element("pre", {}, passage.text),
      ),
    ),
  );
  if (!chosen) return;
  const place = at(`passage-${chosen}`);
  place.classList.add("chosen");
  place.focus();
  place.scrollIntoView({block: "nearest"});
}

async function ask(event) {
  event.preventDefault();
  if (writing) return;
  problem.textContent = "";
  writing = new AbortController();
  stop.disabled = false;
  conversations.disabled = fresh.disabled = true; // the answer belongs to the one on the page
  status.textContent = "Searching";
  const text = question.value.trim();
  const answer = {text: "", state: "writing", verdict: 0};
  let shown = null;
  try {
    await started; // the conversation that a link names, or the newest, is on the page
    if (!open) {
      open = (await api("POST", "/api/documents", {title: text.slice(0, 80), content: ""})).id;
      history.replaceState(null, "", `#${open}`);
      await list();
    }
    // a question that is asked again is answered from the next passages
    const attempt = [...answers.querySelectorAll(".asked")].filter((one) => one.textContent === text).length;
    await streamed(
      "/api/answers",
      {document: open, question: text, attempt},
      {
        begun: ({id, settings}) => {
          Object.assign(answer, {id, settings});
          shown = card(answer);
          shown.ariaBusy = "true";
          answers.append(shown);
          showPassages(answer);
          question.value = "";
          status.textContent = "Writing";
        },
        text: (piece) => {
          answer.text += piece;
          shown.querySelector(".said").append(piece);
        },
        failed: (message) => tell(new Refused(0, message)),
        ended: (state) => {
          answer.state = state;
          status.textContent = "The answer is there";
        },
      },
      writing.signal,
    );
  } catch (error) {
    if (answer.state === "writing") answer.state = "stopped";
    if (error.name === "AbortError") status.textContent = "Stopped";
    else tell(error);
  } finally {
    writing = null;
    stop.disabled = true;
    conversations.disabled = fresh.disabled = false;
    if (shown) {
      shown.ariaBusy = "false";
      shown.querySelector(".said").replaceChildren(...linked(answer));
      shown.querySelector(".state").textContent = STATES[answer.state];
      if (answer.state === "done") support(open, answer).catch(tell);
    }
  }
}

function tell(error) {
  problem.textContent = error.message;
  status.textContent = "";
}

// ---- the beginning ---------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => ask(event).catch(tell));
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stop.addEventListener("click", () => writing?.abort());
conversations.addEventListener("change", () => show(conversations.value).catch(tell));
fresh.addEventListener("click", async () => {
  await show("");
  conversations.value = "";
  question.focus();
});

async function start() {
  const known = await list();
  const named = known.find((one) => one.id === location.hash.slice(1)) ?? known[0];
  await show(named?.id ?? "");
  conversations.value = open ?? "";
  question.focus();
}

const started = start().catch(tell);
