// The editor of a cell: CodeMirror with what Python needs. Bundled by site_tools/tab/tab_assets.py, and loaded with the first edit.

import { autocompletion, completeAnyWord, completionKeymap } from "@codemirror/autocomplete";
import { history, historyKeymap, indentWithTab, standardKeymap } from "@codemirror/commands";
import { pythonLanguage } from "@codemirror/lang-python";
import { bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers } from "@codemirror/view";
import { classHighlighter, highlightCode } from "@lezer/highlight";

// Names as they stand after the cells above have run, keywords and builtins among them. Words of the cell come from the editor.
const named = (complete) => async (context) => {
  const word = context.matchBefore(/[\w.]+$/);
  if (!word && !context.explicit) return null;
  const { from, names } = await complete(context.state.doc.toString(), context.pos);
  return names.length ? { from, options: names.map((label) => ({ label })), validFor: /^\w*$/ } : null;
};

// Puts an editor into `parent`. `label` names it to screen readers; `complete(code, cursor)` gives {from, names}.
export function open(parent, { code, label, description, complete, onRun, onChange }) {
  const sources = [named(complete), completeAnyWord];
  const runs = { key: "Mod-Enter", preventDefault: true, run: () => (onRun(), true) };
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: code,
      extensions: [
        lineNumbers(),
        history(),
        indentOnInput(),
        indentUnit.of("    "),
        bracketMatching(),
        autocompletion({ override: sources, icons: false }),
        pythonLanguage,
        syntaxHighlighting(classHighlighter),
        keymap.of([runs, ...completionKeymap, ...standardKeymap, ...historyKeymap, indentWithTab]),
        EditorView.contentAttributes.of({
          "aria-label": label,
          "aria-describedby": description,
          spellcheck: "false",
          tabindex: "0", // the box round it scrolls, and has to be seen to be reachable
        }),
        EditorView.updateListener.of((update) => update.docChanged && onChange(update.state.doc.toString())),
      ],
    }),
  });
  return {
    focus: () => view.focus(),
    close: () => view.destroy(),
    read: () => view.state.doc.toString(),
  };
}

// Python as spans with the classes of the editor's colors.
export function color(code) {
  const fragment = document.createDocumentFragment();
  const put = (text, className) => fragment.append(className ? Object.assign(document.createElement("span"), { className, textContent: text }) : text);
  highlightCode(code, pythonLanguage.parser.parse(code), classHighlighter, put, () => fragment.append("\n"));
  return fragment;
}
