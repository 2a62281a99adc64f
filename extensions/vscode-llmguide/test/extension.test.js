// The extension against a stand-in for VS Code and a server that says what it is told to.
"use strict";

const assert = require("node:assert");
const {execFileSync} = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const Module = require("node:module");
const os = require("node:os");
const path = require("node:path");
const {after, before, beforeEach, test} = require("node:test");

// ---- a stand-in for the part of VS Code that the extension uses ----------------------------------------

const commands = {};
const settings = {automatic: true, maxTokens: 32, exclude: [], gitIgnored: false};
const hidden = {};
const secrets = new Map();
const state = new Map();
const said = [];
let pasted; // into the box for the link
let saved; // hears that a document was saved
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
  ConfigurationTarget: {Global: 1},
  InlineCompletionItem,
  InlineCompletionTriggerKind: {Invoke: 0, Automatic: 1},
  Range,
  StatusBarAlignment: {Right: 2},
  commands: {
    registerCommand: (name, run) => ((commands[name] = run), {dispose() {}}),
    executeCommand: async (name) => said.push(name),
  },
  languages: {
    registerInlineCompletionItemProvider: (_, given) => ((provider = given), {dispose() {}}),
    match: (selectors, {uri}) => (selectors.some(({pattern}) => path.matchesGlob(uri.path, pattern)) ? 10 : 0),
  },
  window: {
    createStatusBarItem: () => bar,
    setStatusBarMessage: (text) => said.push(text),
    showInformationMessage: async (text) => void said.push(text),
    showInputBox: async ({prompt, validateInput}) => {
      said.push(prompt);
      return validateInput(pasted) ? undefined : pasted;
    },
    showWarningMessage: (text) => said.push(text),
  },
  workspace: {
    getConfiguration: (section) => ({
      get: (name) => (section === "files" ? hidden : settings[name]),
      update: async (name, value) => void (settings[name] = value),
    }),
    onDidSaveTextDocument: (hear) => ((saved = hear), {dispose() {}}),
  },
};
const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? vscode : load(name, ...rest));

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "llmguide-"));
const uri = (name) => ({scheme: "file", path: name, fsPath: name});
const file = (text, name = path.join(folder, "code.py")) => ({getText: () => text, offsetAt: (at) => at, uri: uri(name)});
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
const tokens = [];
let reply = null;
let introduced;
let stopped = 0;
const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    asked.push({path: request.url, ...JSON.parse(body)});
    tokens.push(request.headers.authorization);
    response.on("close", () => (stopped += response.writableEnded ? 0 : 1));
    if (reply) {
      response.writeHead(reply.status, {"Content-Type": "application/json", ...reply.headers});
      response.end(JSON.stringify(reply.body));
    }
  });
});
const address = () => `http://127.0.0.1:${server.address().port}`;
const completion = (id, text) => ({status: 200, body: {id, choices: [{text}]}});

before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  settings.url = "http://127.0.0.1:8100/";
  const kept = {
    get: async (name) => secrets.get(name),
    store: async (name, value) => void secrets.set(name, value),
    delete: async (name) => void secrets.delete(name),
  };
  const globalState = {get: (name) => state.get(name), update: async (name, value) => void state.set(name, value)};
  for (let start = 0; start < 2; start++) require("../extension").activate({subscriptions: [], secrets: kept, globalState});
  await new Promise(setImmediate);
  introduced = said.splice(0);
});
after(() => {
  fs.rmSync(folder, {recursive: true});
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  asked.length = tokens.length = said.length = 0;
  reply = completion("a1", "x)");
});

// ---- tests ---------------------------------------------------------------------------------------------

test("there is nothing to judge before there is a completion", async () => {
  await commands["llmguide.like"]();
  assert.deepEqual(said, ["There is no completion yet."]);
  assert.deepEqual(asked, []);
});

test("the first start says once to whom code goes and what is kept", () => {
  assert.equal(introduced.length, 1);
  assert.match(introduced[0], /20,000 characters on each side of the cursor to the server that you connect/);
  assert.match(introduced[0], /keeps them in its database/);
  assert.match(introduced[0], /Files with secrets, such as .env and keys, and files that Git ignores are not sent/);
});

test("nothing is sent before somebody has connected a server", async () => {
  settings.url = address();
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.match(bar.tooltip, /Not connected, so that nothing is sent/);
  for (pasted of ["", "no link", "file:///etc/passwd", "javascript:alert(1)"]) await commands["llmguide.connect"]();
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.deepEqual(asked, []);
});

test("the link of a server connects it, and its token goes there alone", async () => {
  settings.url = "http://127.0.0.1:8100";
  pasted = ` ${address()}/#token=a-token_1 `;
  await commands["llmguide.connect"]();
  assert.match(said[0], /Paste the link .* keeps them in its database/);
  assert.equal(settings.url, address());
  await provider.provideInlineCompletionItems(file("a"), 1, invoked, token());
  assert.deepEqual(tokens, ["Bearer a-token_1"]);
  settings.url = address().replace("127.0.0.1", "localhost");
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.equal(asked.length, 1);
  settings.url = address();
});

test("a server that does not know the token is said", async () => {
  reply = {status: 401, body: {error: {message: "the token is missing or wrong"}}};
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.match(bar.tooltip, /run the command llmguide: Connect/);
});

test("no redirect is followed", async () => {
  reply = {status: 307, headers: {Location: `${address()}/elsewhere`}, body: {}};
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.deepEqual(asked.map(({path}) => path), ["/v1/completions"]);
});

test("files with secrets, hidden files and those that Git ignores are not sent", async () => {
  const never = [".env", ".env.local", "prod.env", "server.pem", "tls/private.key", "id_ed25519", ".ssh/config"];
  never.push(".aws/credentials", ".netrc", ".npmrc", "secrets.yaml", "app.token", "terraform.tfvars");
  never.push("private/notes.md", "dist/bundle.js", "build/made.py");
  settings.exclude = ["**/private/**"];
  hidden["**/dist"] = true;
  hidden["**/shown"] = false;
  execFileSync("git", ["init", "--quiet", folder]);
  fs.writeFileSync(path.join(folder, ".gitignore"), "build/\n");
  fs.mkdirSync(path.join(folder, "build"));
  const offered = async (name) =>
    (await provider.provideInlineCompletionItems(file("a", path.join(folder, name)), 1, invoked, token())).length;
  for (const name of never) assert.equal(await offered(name), 0, name);
  assert.deepEqual(asked, []);
  assert.match(bar.tooltip, /This file is not sent/);
  for (const name of ["code.py", "environment.py", "shown", "keys.py", "secrets.py"]) assert.equal(await offered(name), 1, name);
  assert.equal(bar.tooltip, undefined);
  settings.gitIgnored = true;
  assert.equal(await offered("build/made.py"), 1);
  settings.gitIgnored = false;
  assert.equal(await offered("build/made.py"), 0);
  fs.writeFileSync(path.join(folder, ".gitignore"), "");
  saved({uri: uri(path.join(folder, ".gitignore"))});
  assert.equal(await offered("build/made.py"), 1);
  const untitled = {...file("a"), uri: {scheme: "untitled", path: "Untitled-1", fsPath: "Untitled-1"}};
  assert.equal((await provider.provideInlineCompletionItems(untitled, 1, invoked, token())).length, 1);
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
  pasted = "http://127.0.0.1:9";
  await commands["llmguide.connect"]();
  assert.equal(settings.url, pasted);
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  assert.match(bar.tooltip, /cannot be reached; start it with: llmguide app code-assistant/);
  await commands["llmguide.like"]();
  assert.match(said.at(-1), /cannot be reached/);
  settings.url = url;
});

test("disconnected, it sends nothing", async () => {
  await commands["llmguide.disconnect"]();
  assert.deepEqual(await provider.provideInlineCompletionItems(file("a"), 1, invoked, token()), []);
  await commands["llmguide.like"]();
  assert.deepEqual(asked, []);
});
