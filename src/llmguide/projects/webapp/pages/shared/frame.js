// What the pages of all applications share: requests, answers that stream in, and elements made of text.

// The link that llmguide app prints ends with #token=... The token stays in this tab, and leaves the address. Anybody can
// make such a link, so that only a token which the server accepts is kept.
const TOKEN = "llmguide.app";
let token = null;

async function takeToken() {
  try {
    token = sessionStorage.getItem(TOKEN);
  } catch {} // storage is switched off: the token lasts as long as the page
  const given = location.hash.match(/^#token=([\w-]+)$/)?.[1];
  if (!given) return;
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/api/documents", {headers: {Authorization: `Bearer ${given}`}}).catch(() => null);
  if (!answer?.ok) return;
  token = given;
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {}
}

const ready = takeToken();
addEventListener("hashchange", () => location.hash.startsWith("#token=") && location.reload());

/** The headers of a request with JSON in its body. */
export function headers() {
  return {"Content-Type": "application/json", ...(token && {Authorization: `Bearer ${token}`})};
}

/** A request that was refused; its message may be shown. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Sends JSON, and returns the JSON that comes back. */
export async function api(method, path, body) {
  const answer = await send(method, path, body);
  return answer.json();
}

/**
 * Asks for an answer, and calls `on.begun`, `on.text`, `on.failed` and `on.ended` as its events come.
 * Stops when `signal` says so; the server then stops the model.
 */
export async function streamed(path, body, on, signal) {
  const answer = await send("POST", path, body, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let ended = false;
  for (;;) {
    const {value, done} = await reader.read().catch(brokenOff);
    if (done) break;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/s);
      ended ||= name === "ended";
      on[name]?.(JSON.parse(data));
    }
  }
  if (!ended) brokenOff();
}

/** Says that a stream has no end, unless the user has stopped it. */
export function brokenOff(error) {
  if (error?.name === "AbortError") throw error;
  throw new Refused(0, "The answer broke off. Is the server still running?");
}

/** Sends JSON, and returns the response; throws `Refused` where there is none, or an error. */
export async function send(method, path, body, signal) {
  await ready;
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: headers(),
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached. Is it still running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error?.message ?? said.error ?? `The server answers with ${answer.status}.`);
}

/** An element; strings among its children become text, never markup. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Two buttons, thumbs up and down, that keep the verdict on an answer; pressed again, one takes it back.
 * What `comment` returns is kept with it.
 */
export function thumbs(answer, verdict, onError, comment = () => "") {
  const made = [
    [1, "Like"],
    [-1, "Dislike"],
  ].map(([value, name]) => {
    const button = element("button", {type: "button", ariaPressed: String(verdict === value)}, name);
    button.addEventListener("click", async () => {
      const wanted = button.ariaPressed === "true" ? 0 : value;
      try {
        await api("POST", `/api/answers/${answer}/verdict`, {verdict: wanted, comment: comment()});
        for (const [i, other] of made.entries()) other.ariaPressed = String(wanted === (i ? -1 : 1));
      } catch (error) {
        onError(error);
      }
    });
    return button;
  });
  return made;
}
