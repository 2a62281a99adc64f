// The page of the writing assistant: a text that saves itself, and continuations and rewritings to keep or leave.

import {Refused, api, element, headers, streamed, thumbs} from "/shared/frame.js";

const SAVE_AFTER = 400; // milliseconds without a key
const AGAIN_AFTER = 3000; // milliseconds after a server that could not be reached, or had no time
const at = (id) => document.getElementById(id);
const [texts, fresh, title, text, status, problem, controls, stop, answers, characters, rewrite] =
  ["texts", "new", "title", "text", "status", "problem", "controls", "stop", "answers", "characters", "rewrite"].map(at);
const STYLES = {shakespeare: "a play by Shakespeare", speech: "a president's speech"};
const FAILED = {
  pronouns: "a pronoun does not fit the characters, or there is none",
  notes: "nothing of the notes on the characters",
  new: "repeats the text",
};

let open = null; // {id, version} of the text on the page
let unsaved = false;
let waiting = null; // the timer of the next saving
let saving = Promise.resolve();
let writing = null; // stops the answer that is being written

// ---- the text --------------------------------------------------------------------------------------------

async function list() {
  const {documents} = await api("GET", "/api/documents");
  texts.replaceChildren(
    ...documents.map((one) => element("option", {value: one.id}, one.title || "Without a title")),
  );
  if (open) texts.value = open.id;
  return documents;
}

async function show(id) {
  const found = await api("GET", `/api/documents/${id}`);
  open = {id, version: found.version};
  history.replaceState(null, "", `#${id}`);
  title.value = found.title;
  text.value = found.content;
  characters.value = localStorage.getItem(`characters ${id}`) ?? "";
  title.disabled = text.disabled = false; // not before: what is typed would be overwritten
  answers.replaceChildren(...found.answers.map(card).reverse());
  texts.value = id;
  status.textContent = "Saved";
  measure(at("style"), text.value);
}

async function begin() {
  const {id} = await api("POST", "/api/documents", {title: "", content: ""});
  await show(id);
  await list();
  text.focus();
}

function changed() {
  unsaved = true;
  status.textContent = "Not saved yet";
  clearTimeout(waiting);
  waiting = setTimeout(save, SAVE_AFTER);
}

/** Saves after what is being saved; what is typed meanwhile is saved next. */
function save() {
  clearTimeout(waiting);
  saving = saving.then(async () => {
    if (!unsaved) return;
    unsaved = false;
    const sent = {title: title.value, content: text.value, version: open.version};
    try {
      open.version = (await api("PUT", `/api/documents/${open.id}`, sent)).version;
      if (!unsaved) status.textContent = "Saved";
      measure(at("style"), sent.content);
      const option = [...texts.options].find((one) => one.value === open.id);
      if (option) option.textContent = sent.title || "Without a title";
    } catch (error) {
      unsaved = true;
      status.textContent = `Not saved: ${error.message}`;
      if ([0, 429, 503].includes(error.status)) waiting = setTimeout(save, AGAIN_AFTER);
    }
  });
  return saving;
}

async function measure(place, content) {
  const found = await api("POST", "/api/style", {text: content}).catch(() => ({})); // the text matters more
  const percent = new Set(["lively sentences", "variety", "repetition"]);
  place.replaceChildren(
    ...Object.entries(found).map(([name, value]) =>
      element(
        "div",
        {},
        element("dt", {}, name),
        element("dd", {}, percent.has(name) ? `${Math.round(100 * value)}%` : value.toFixed(name === "words" ? 0 : 1)),
      ),
    ),
  );
}

// ---- continuations ---------------------------------------------------------------------------------------

function card(answer) {
  const said = element("p", {className: "said"}, answer.text);
  const style = element("dl", {className: "style", ariaLabel: "Style of this continuation"});
  const keep = element("button", {type: "button"}, "Keep");
  const {into, source} = answer.settings;
  const wanted = into
    ? [`rewritten like ${STYLES[into]}`]
    : Object.entries(answer.settings.style)
        .filter(([, level]) => level !== "any")
        .map(([name, level]) => `${name}: ${level}`);
  const state = {done: "", stopped: "stopped", failed: "failed", writing: "being written"}[answer.state];
  const note = [...wanted, state].filter(Boolean).join(", ") || "as it comes";
  const made = element(
    "article",
    {className: "card"},
    said,
    element("p", {className: "note"}, note),
    style,
    element("div", {className: "row"}, keep, ...thumbs(answer.id, answer.verdict, tell)),
  );
  keep.addEventListener("click", () => {
    if (into && text.value.includes(source)) text.value = text.value.replace(source, () => said.textContent);
    else text.value += said.textContent;
    changed();
    text.focus();
  });
  if (answer.text) measure(style, answer.text);
  return made;
}

/** Says on a card what of a continuation does not keep to the characters. */
async function check(made, answer) {
  const sent = {text: answer.text, before: answer.before, characters: characters.value};
  const found = await api("POST", "/api/check", sent).catch(() => ({})); // the continuation matters more
  const failed = Object.keys(found).filter((name) => !found[name]);
  if (failed.length) made.append(element("p", {className: "note bad"}, failed.map((name) => FAILED[name]).join("; ")));
  else if (Object.keys(found).length) made.append(element("p", {className: "note"}, "keeps to the characters"));
}

function writeOn(event) {
  event.preventDefault();
  return request({text: text.value, characters: characters.value});
}

function rewriteSelection() {
  const passage = text.value.slice(text.selectionStart, text.selectionEnd).trim();
  if (passage) return request({text: passage, into: new FormData(controls).get("into")});
  return Promise.reject(new Refused(0, "Select the passage in your text that is to be rewritten."));
}

async function request(fields) {
  if (writing) return;
  problem.textContent = "";
  await save();
  const choices = new FormData(controls);
  const wish = {
    document: open.id,
    ...fields,
    ...Object.fromEntries(["length", "words", "tone"].map((name) => [name, choices.get(name)])),
    temperature: Number(choices.get("temperature")),
  };
  writing = new AbortController();
  stop.disabled = false;
  texts.disabled = fresh.disabled = true; // the continuation belongs to the one on the page
  const answer = {text: "", state: "writing", verdict: 0, before: fields.text};
  let shown = null;
  const redraw = () => {
    const made = card(answer);
    shown.replaceWith(made);
    shown = made;
  };
  try {
    await streamed(
      "/api/answers",
      wish,
      {
        begun: ({id, settings}) => {
          Object.assign(answer, {id, settings});
          shown = card(answer);
          shown.ariaBusy = "true";
          answers.prepend(shown);
          status.textContent = "Writing";
        },
        text: (piece) => {
          answer.text += piece;
          shown.querySelector(".said").append(piece);
        },
        failed: (message) => tell(new Refused(0, message)),
        ended: (state) => {
          answer.state = state;
          redraw();
          if (!fields.into && answer.text) check(shown, answer);
          status.textContent = fields.into ? "A rewriting is there" : "A continuation is there";
        },
      },
      writing.signal,
    );
  } catch (error) {
    if (shown) {
      answer.state = "stopped";
      redraw();
    }
    if (error.name === "AbortError") status.textContent = "Stopped";
    else tell(error);
  } finally {
    writing = null;
    stop.disabled = true;
    texts.disabled = fresh.disabled = false;
  }
}

function tell(error) {
  problem.textContent = error.message;
}

// ---- the beginning ---------------------------------------------------------------------------------------

title.addEventListener("input", changed);
text.addEventListener("input", changed);
/** Leaves the text on the page for another one, unless that would lose what is not saved. */
async function leave(forNext) {
  await save();
  if (unsaved) texts.value = open.id;
  else await forNext();
}
texts.addEventListener("change", () => {
  const wanted = texts.value;
  leave(() => show(wanted)).catch(tell);
});
fresh.addEventListener("click", () => leave(begin).catch(tell));
controls.addEventListener("submit", (event) => writeOn(event).catch(tell));
rewrite.addEventListener("click", () => rewriteSelection().catch(tell));
characters.addEventListener("input", () => localStorage.setItem(`characters ${open.id}`, characters.value));
stop.addEventListener("click", () => writing?.abort());
addEventListener("pagehide", () => {
  if (!unsaved) return;
  const sent = {title: title.value, content: text.value, version: open.version};
  fetch(`/api/documents/${open.id}`, {
    method: "PUT",
    keepalive: true, // outlives the page
    headers: headers(),
    body: JSON.stringify(sent),
  });
});

try {
  const documents = await list();
  const named = documents.find((one) => one.id === location.hash.slice(1));
  if (named ?? documents[0]) await show((named ?? documents[0]).id);
  else await begin();
} catch (error) {
  tell(error);
}
