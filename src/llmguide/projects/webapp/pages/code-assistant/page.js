// The page of the code assistant: a place to try it, and thumbs for what it has completed.

import {Refused, api, brokenOff, element, send, thumbs} from "/shared/frame.js";

const SHOWN = 120; // characters on each side of a completion in the list
const at = (id) => document.getElementById(id);
const [status, problem, form, code, another, stop, answers] =
  ["status", "problem", "ask", "code", "another", "stop", "answers"].map(at);

let listed = ""; // what the list shows
let writing = null; // stops the completion that is being written

async function list() {
  const newest = await api("GET", "/api/completions");
  const found = JSON.stringify(newest);
  if (found === listed) return; // a button that has the focus keeps it
  listed = found;
  answers.replaceChildren(...newest.answers.map(card).reverse());
}

function card({id, prompt, text, verdict, state}) {
  return element(
    "article",
    {className: "card"},
    element(
      "p",
      {className: "said"},
      prompt.prompt.slice(-SHOWN),
      element("mark", {}, text || "(nothing)"),
      (prompt.suffix ?? "").slice(0, SHOWN),
    ),
    element("div", {className: "row"}, ...thumbs(id, verdict, tell)),
    state === "done" ? "" : element("p", {className: "note"}, state),
  );
}

/** Asks for what belongs at the cursor, and puts it there as it comes. */
async function complete(signal) {
  const start = code.selectionStart;
  const [before, after] = [code.value.slice(0, start), code.value.slice(start)];
  const wish = {
    prompt: before,
    suffix: after,
    max_tokens: 48,
    temperature: another.checked ? 0.8 : 0,
    stream: true,
  };
  const answer = await send("POST", "/v1/completions", wish, signal);
  let text = "";
  for await (const piece of pieces(answer.body)) {
    text += piece;
    code.value = before + text + after;
    code.selectionStart = code.selectionEnd = start + text.length;
  }
  status.textContent = text ? "Completed" : "The model would write nothing there";
}

/** The texts of a stream in OpenAI's format. */
async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read().catch(brokenOff);
    if (done) brokenOff();
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      const found = JSON.parse(data);
      if (found.error) throw new Refused(0, found.error.message);
      yield found.choices[0].text;
    }
  }
}

function tell(error) {
  problem.textContent = error instanceof Refused ? error.message : "The server cannot be reached.";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  status.textContent = "Completing";
  writing = new AbortController();
  const button = form.querySelector("button");
  button.disabled = code.readOnly = true;
  stop.disabled = false;
  try {
    await complete(writing.signal);
  } catch (error) {
    status.textContent = writing.signal.aborted ? "Stopped" : "";
    if (!writing.signal.aborted) tell(error);
  }
  writing = null;
  button.disabled = code.readOnly = false;
  stop.disabled = true;
  code.focus();
  await list().catch(tell);
});
stop.addEventListener("click", () => writing?.abort());
addEventListener("focus", () => list().catch(tell)); // what the editor has asked for meanwhile

await list().catch(tell);
