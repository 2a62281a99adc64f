// Completions of the code assistant as you type, and thumbs for them.
"use strict";

const vscode = require("vscode");
const {complete, judge, Refused} = require("./client");

const PAUSE = 150; // milliseconds without a key before the model is asked
const DARING = 0.8; // temperature of another completion; the first one is the likeliest

function activate(context) {
  const bar = vscode.window.createStatusBarItem(vscode.StatusBarAlignment.Right);
  bar.text = "llmguide";
  bar.show();

  let last = null; // name of the last completion that was offered
  let another = false; // the next one that is asked for is to be another

  const settings = () => vscode.workspace.getConfiguration("llmguide");
  const address = () => settings().get("url").replace(/\/+$/, "");

  function tell(error) {
    bar.text = "llmguide $(warning)";
    bar.tooltip = error.message;
  }

  const provider = {
    async provideInlineCompletionItems(document, position, asked, token) {
      const automatic = asked.triggerKind === vscode.InlineCompletionTriggerKind.Automatic;
      if (automatic && !settings().get("automatic")) return [];
      if (automatic) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      if (token.isCancellationRequested) return [];
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
      try {
        const found = await complete(address(), wish, stopped.signal);
        bar.text = "llmguide";
        bar.tooltip = undefined;
        if (!found.text || token.isCancellationRequested) return [];
        last = found.id;
        return [new vscode.InlineCompletionItem(found.text, new vscode.Range(position, position))];
      } catch (error) {
        if (!stopped.signal.aborted) tell(error); // not a message at every key
        return [];
      }
    },
  };

  async function say(verdict) {
    if (last === null) {
      vscode.window.showInformationMessage("There is no completion yet.");
      return;
    }
    try {
      await judge(address(), last, verdict);
      vscode.window.setStatusBarMessage(verdict > 0 ? "llmguide: liked" : "llmguide: disliked", 3000);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      vscode.window.showWarningMessage(error.message);
    }
  }

  context.subscriptions.push(
    bar,
    vscode.languages.registerInlineCompletionItemProvider({pattern: "**"}, provider),
    vscode.commands.registerCommand("llmguide.like", () => say(1)),
    vscode.commands.registerCommand("llmguide.dislike", () => say(-1)),
    vscode.commands.registerCommand("llmguide.another", async () => {
      another = true;
      await vscode.commands.executeCommand("editor.action.inlineSuggest.hide"); // or it shows the one it has
      await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
    }),
  );
}

module.exports = {activate};
