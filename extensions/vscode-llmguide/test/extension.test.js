// The extension against a stand-in for VS Code and a server that says what it is told to.
"use strict";

const assert = require("node:assert");
const http = require("node:http");
const Module = require("node:module");
const {after, before, beforeEach, test} = require("node:test");

// ---- a stand-in for the part of VS Code that the extension uses ----------------------------------------

const commands = {};
const settings = {automatic: true, maxTokens: 32};
const said = [];
const bar = {show() {}, dispose() {}};
let provider = null;

class Range {
  constructor(start, end) {
    Object.assign(this, {start, end});
  }
}

class InlineCompletionItem {
  constructor(insertText, range) {
    Object.assign(this, {insertText, range});
  }
}

const vscode = {
  InlineCompletionItem,
  InlineCompletionTriggerKind: {Invoke: 0, Automatic: 1},
  Range,
  StatusBarAlignment: {Right: 2},
  commands: {
    registerCommand: (name, run) => ((commands[name] = run), {dispose() {}}),
    executeCommand: async (name) => said.push(name),
  },
  languages: {registerInlineCompletionItemProvider: (_, given) => ((provider = given), {dispose() {}})},
  window: {
    createStatusBarItem: () => bar,
    setStatusBarMessage: (text) => said.push(text),
    showInformationMessage: (text) => said.push(text),
    showWarningMessage: (text) => said.push(text),
  },
  workspace: {getConfiguration: () => ({get: (name) => settings[name]})},
};
const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? vscode : load(name, ...rest));

const file = (text) => ({getText: () => text, offsetAt: (position) => position});
const invoked = {triggerKind: vscode.InlineCompletionTriggerKind.Invoke};
const typed = {triggerKind: vscode.InlineCompletionTriggerKind.Automatic};

function token() {
  const heard = [];
  const made = {
    isCancellationRequested: false,
    onCancellationRequested: (hear) => heard.push(hear),
    cancel() {
      made.isCancellationRequested = true;
      heard.forEach((hear) => hear());
    },
  };
  return made;
}

// ---- a server ------------------------------------------------------------------------------------------

const asked = [];
let reply = null;
let stopped = 0;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    asked.push({path: request.url, ...JSON.parse(body)});
    response.on("close", () => (stopped += response.writableEnded ? 0 : 1));
    if (reply) {
      response.writeHead(reply.status, {"Content-Type": "application/json"});
      response.end(JSON.stringify(reply.body));
    }
  });
});
const completion = (id, text) => ({status: 200, body: {id, choices: [{text}]}});

before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  settings.url = `http://127.0.0.1:${server.address().port}`;
  require("../extension").activate({subscriptions: []});
});
after(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  asked.length = said.length = 0;
  reply = completion("a1", "x)");
});

// ---- tests ---------------------------------------------------------------------------------------------

test("there is nothing to judge before there is a completion", async () => {
  await commands["llmguide.like"]();
  assert.deepEqual(said, ["There is no completion yet."]);
  assert.deepEqual(asked, []);
});

test("what stands around the cursor is sent, and what comes back is offered there", async () => {
  const [item] = await provider.provideInlineCompletionItems(file("print(\nend"), 6, invoked, token());
  assert.deepEqual(asked, [
    {path: "/v1/completions", prompt: "print(", suffix: "\nend", max_tokens: 32, temperature: 0},
  ]);
  assert.equal(item.insertText, "x)");
  assert.deepEqual(item.range, new Range(6, 6));
});

test("an address may end with a slash, and a line with two characters", async () => {
  settings.url += "/";
  await provider.provideInlineCompletionItems(file("a\r\nb\r\nc"), 3, invoked, token());
  settings.url = settings.url.slice(0, -1);
  assert.deepEqual([asked[0].path, asked[0].prompt, asked[0].suffix], ["/v1/completions", "a\n", "b\nc"]);
});

test("a verdict is on the last completion", async () => {
  await provider.provideInlineCompletionItems(file("a"), 1, invoked, token());
  await commands["llmguide.dislike"]();
  reply = completion("b2", "y");
  await provider.provideInlineCompletionItems(file("a"), 1, invoked, token());
  await commands["llmguide.like"]();
  const verdicts = asked.filter(({path}) => path.startsWith("/api"));
  assert.deepEqual(verdicts, [
    {path: "/api/answers/a1/verdict", verdict: -1},
    {path: "/api/answers/b2/verdict", verdict: 1},
  ]);
});

test("another completion is drawn, and the next one is the likeliest again", async () => {
  await commands["llmguide.another"]();
  assert.deepEqual(said, ["editor.action.inlineSuggest.hide", "editor.action.inlineSuggest.trigger"]);
  for (const kind of [typed, invoked, invoked]) {
    await provider.provideInlineCompletionItems(file("a"), 1, kind, token());
  }
  assert.deepEqual(asked.map(({temperature}) => temperature), [0, 0.8, 0]);
});

test("typing on asks for nothing, and stops what was asked for", async () => {
  const early = token();
  const first = provider.provideInlineCompletionItems(file("a"), 1, typed, early);
  early.cancel();
  assert.deepEqual(await first, []);
  assert.deepEqual(asked, []);
  reply = null;
  stopped = 0;
  const late = token();
  const second = provider.provideInlineCompletionItems(file("a"), 1, invoked, late);
  while (!asked.length) await new Promise((resolve) => setTimeout(resolve, 5));
  late.cancel();
  assert.deepEqual(await second, []);
  while (!stopped) await new Promise((resolve) => setTimeout(resolve, 5));
});

test("switched off, it completes when asked alone", async () => {
  settings.automatic = false;
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, typed, token()), []);
  assert.equal((await provider.provideInlineCompletionItems(file("a"), 1, invoked, token())).length, 1);
  settings.automatic = true;
});

test("an empty completion is none", async () => {
  reply = completion("c3", "");
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
});

test("a refusal and a missing server are said in the status bar", async () => {
  reply = {status: 429, body: {error: {message: "30 requests in 60 seconds are the limit"}}};
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.equal(bar.tooltip, "30 requests in 60 seconds are the limit");
  const url = settings.url;
  settings.url = "http://127.0.0.1:9";
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.match(bar.tooltip, /cannot be reached; start it with: llmguide app code-assistant/);
  await commands["llmguide.like"]();
  assert.match(said.at(-1), /cannot be reached/);
  settings.url = url;
});
