// Talks to the code assistant: completions as OpenAI has them, and verdicts on them.
"use strict";

const MOST = 20_000; // characters on each side of the cursor that are sent

/** What the server refuses, in its own words. */
class Refused extends Error {}

/**
 * Asks for what belongs between two texts.
 *
 * @param {{url: string, token: string}} server its address, and what it wants to see before it answers
 * @param {{prefix: string, suffix: string, maxTokens: number, temperature: number}} wish what is asked
 * @param {AbortSignal} signal stops the model
 * @returns {Promise<{id: string, text: string}>} the completion, and its name for a verdict
 */
async function complete(server, {prefix, suffix, maxTokens, temperature}, signal) {
  const answer = await post(
    server,
    "/v1/completions",
    {
      prompt: unix(prefix.slice(-MOST)),
      suffix: unix(suffix.slice(0, MOST)),
      max_tokens: maxTokens,
      temperature,
    },
    signal,
  );
  const [choice] = answer.choices;
  return {id: answer.id, text: choice.text};
}

/** Ends lines as models have read them, whatever the file does. */
function unix(text) {
  return text.replaceAll("\r\n", "\n");
}

/** Says what somebody thinks of a completion: 1, or -1. */
async function judge(server, id, verdict) {
  await post(server, `/api/answers/${id}/verdict`, {verdict});
}

async function post({url, token}, path, body, signal) {
  let answer;
  try {
    answer = await fetch(`${url}${path}`, {
      method: "POST",
      redirect: "error", // code goes to this address and nowhere else
      headers: {"Content-Type": "application/json", ...(token && {Authorization: `Bearer ${token}`})},
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(`${url} cannot be reached; start it with: llmguide app code-assistant`);
  }
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401) throw new Refused(`${url} did not accept this editor's token; run the command llmguide: Connect`);
  if (!answer.ok) throw new Refused(found.error?.message ?? found.error ?? `${url} answers with ${answer.status}`);
  return found;
}

module.exports = {complete, judge, MOST, Refused};
