// Completions of the code assistant as you type, and thumbs for them. Nothing is sent before you have connected it.
"use strict";

const vscode = require("vscode");
const {complete, judge, MOST, Refused} = require("./client");
const {forget, maySend} = require("./files");

const PAUSE = 150; // milliseconds without a key before the model is asked
const DARING = 0.8; // temperature of another completion; the first one is the likeliest
const DOCUMENTS = ["file", "untitled", "vscode-notebook-cell"].map((scheme) => ({scheme}));
const SENT =
  `It sends up to ${MOST.toLocaleString("en")} characters on each side of the cursor to the server that you connect, ` +
  "which keeps them in its database, with its completions and your likes and dislikes.";

function activate(context) {
  const bar = vscode.window.createStatusBarItem(vscode.StatusBarAlignment.Right);
  bar.text = "llmguide";
  bar.show();

  let last = null; // name of the last completion that was offered
  let another = false; // the next one that is asked for is to be another

  const settings = () => vscode.workspace.getConfiguration("llmguide");
  const address = () => settings().get("url").replace(/\/+$/, "");

  /** The server, or null before it is connected. A token is kept for its address, and sent to no other one. */
  async function server() {
    const url = address();
    const token = await context.secrets.get(`token ${url}`);
    return token === undefined ? null : {url, token};
  }

  function tell(message) {
    bar.text = message ? "llmguide $(warning)" : "llmguide";
    bar.tooltip = message;
  }

  const provider = {
    async provideInlineCompletionItems(document, position, asked, token) {
      const automatic = asked.triggerKind === vscode.InlineCompletionTriggerKind.Automatic;
      if (automatic && !settings().get("automatic")) return [];
      if (automatic) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      if (token.isCancellationRequested) return [];
      const to = await server();
      if (!to) {
        tell("Not connected, so that nothing is sent. Run the command llmguide: Connect.");
        return [];
      }
      if (!(await maySend(document))) {
        tell("This file is not sent: see the settings llmguide.exclude, files.exclude and llmguide.gitIgnored.");
        return [];
      }
      const stopped = new AbortController();
      token.onCancellationRequested(() => stopped.abort());
      const text = document.getText();
      const at = document.offsetAt(position);
      const wish = {
        prefix: text.slice(0, at),
        suffix: text.slice(at),
        maxTokens: settings().get("maxTokens"),
        temperature: another && !automatic ? DARING : 0,
      };
      if (!automatic) another = false;
      if (token.isCancellationRequested) return [];
      try {
        const found = await complete(to, wish, stopped.signal);
        tell();
        if (!found.text || token.isCancellationRequested) return [];
        last = found.id;
        return [new vscode.InlineCompletionItem(found.text, new vscode.Range(position, position))];
      } catch (error) {
        if (!stopped.signal.aborted) tell(error.message); // not a message at every key
        return [];
      }
    },
  };

  /** Takes the link that the server prints: its address, and its token after the #. */
  async function connect() {
    const link = await vscode.window.showInputBox({
      title: "llmguide: Connect",
      prompt: `Paste the link that llmguide app code-assistant prints. ${SENT}`,
      placeHolder: "http://127.0.0.1:8100/#token=...",
      ignoreFocusOut: true,
      validateInput: (text) => (parsed(text) ? null : "Paste a link that begins with http:// or https://"),
    });
    const found = parsed(link ?? "");
    if (!found) return;
    if (found.url !== address()) await settings().update("url", found.url, vscode.ConfigurationTarget.Global);
    await context.secrets.store(`token ${found.url}`, found.token);
    tell();
    vscode.window.setStatusBarMessage(`llmguide: connected to ${found.url}`, 3000);
  }

  async function disconnect() {
    await context.secrets.delete(`token ${address()}`);
    vscode.window.setStatusBarMessage("llmguide: disconnected, nothing is sent", 3000);
  }

  /** Tells once what the extension does; it sends nothing before somebody has connected it. */
  async function introduce() {
    if (context.globalState.get("introduced")) return;
    await context.globalState.update("introduced", true);
    const chosen = await vscode.window.showInformationMessage(
      `llmguide completes code with a model that you run. ${SENT} ` +
        "Files with secrets, such as .env and keys, and files that Git ignores are not sent.",
      "Connect",
    );
    if (chosen === "Connect") await connect();
  }

  async function say(verdict) {
    const to = await server();
    if (last === null || !to) {
      vscode.window.showInformationMessage("There is no completion yet.");
      return;
    }
    try {
      await judge(to, last, verdict);
      vscode.window.setStatusBarMessage(verdict > 0 ? "llmguide: liked" : "llmguide: disliked", 3000);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      vscode.window.showWarningMessage(error.message);
    }
  }

  context.subscriptions.push(
    bar,
    vscode.languages.registerInlineCompletionItemProvider(DOCUMENTS, provider),
    vscode.workspace.onDidSaveTextDocument(forget),
    vscode.commands.registerCommand("llmguide.connect", connect),
    vscode.commands.registerCommand("llmguide.disconnect", disconnect),
    vscode.commands.registerCommand("llmguide.like", () => say(1)),
    vscode.commands.registerCommand("llmguide.dislike", () => say(-1)),
    vscode.commands.registerCommand("llmguide.another", async () => {
      another = true;
      await vscode.commands.executeCommand("editor.action.inlineSuggest.hide"); // or it shows the one it has
      await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
    }),
  );
  introduce();
}

/** The address and the token of a link, or null. */
function parsed(link) {
  if (!URL.canParse(link.trim())) return null;
  const {protocol, origin, hash} = new URL(link.trim());
  if (!/^https?:$/.test(protocol)) return null;
  return {url: origin, token: /^#token=([\w-]+)$/.exec(hash)?.[1] ?? ""};
}

module.exports = {activate};
