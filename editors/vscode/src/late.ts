// Suggestions that come later than VS Code waits.
//
// 750 ms after a key, VS Code cancels the request for inline suggestions and looks for words instead
// (`editor.quickSuggestions`: offWhenInlineCompletions, its default). A model on a small machine may need longer, and
// nothing would ever be shown. So a request goes on while neither the text nor the cursor has changed, and when it is
// answered VS Code is told to ask again. So it is when the window was busy for so long that it had given up before it saw
// an answer, which came in time: it says nothing of that, and would ask again with the next key only.

import * as vscode from "vscode";
import { Middleware } from "vscode-languageclient/node";

type Provide = NonNullable<Middleware["provideInlineCompletionItems"]>;
type Found = Awaited<ReturnType<Provide>>;

interface Late {
  found: Found;
  uri: string;
  version: number;
  position: vscode.Position;
}

const WAITS = 700; // ms: VS Code's own count begins some before we hear of a key

let late: Late | undefined;
let changed = 0;

/** Listens for the keys that VS Code waits after. */
export function listen(): vscode.Disposable {
  return vscode.workspace.onDidChangeTextDocument(({ document }) => {
    if (document === vscode.window.activeTextEditor?.document) { // and not what is written to an output channel
      changed = Date.now();
    }
  });
}

export const provideInlineCompletionItems: Provide = async (document, position, context, token, next) => {
  const kept = late;
  late = undefined;
  if (kept && kept.uri === document.uri.toString() && kept.version === document.version && kept.position.isEqual(position)) {
    if (!context.selectedCompletionInfo) {
      return kept.found;
    }
    // A menu has opened: an answer for its chosen item, as after a key.
    context = { ...context, triggerKind: vscode.InlineCompletionTriggerKind.Automatic };
  }
  return patiently(document, position, context, token, next);
};

async function patiently(...[document, position, context, token, next]: Parameters<Provide>): Promise<Found> {
  const version = document.version;
  const ours = new vscode.CancellationTokenSource();
  const moved = () => {
    const editor = vscode.window.activeTextEditor;
    return document.version !== version || editor?.document !== document || !editor.selection.active.isEqual(position);
  };
  const over = () => {
    if (token.isCancellationRequested && moved()) {
      ours.cancel();
    }
  };
  const listening = vscode.Disposable.from(
    ours,
    token.onCancellationRequested(over),
    // We may be told of a key after its cancel.
    vscode.workspace.onDidChangeTextDocument(over),
    vscode.window.onDidChangeTextEditorSelection(over),
    vscode.window.onDidChangeActiveTextEditor(over),
  );
  try {
    const found = await next(document, position, context, ours.token);
    const items = Array.isArray(found) ? found : found?.items;
    const offer = () => {
      if (!moved()) {
        late = { found, uri: document.uri.toString(), version, position };
        void vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
      }
    };
    if (!items?.length || ours.token.isCancellationRequested) {
      return found;
    }
    if (token.isCancellationRequested) {
      offer();
    } else if (context.triggerKind === vscode.InlineCompletionTriggerKind.Automatic && !context.selectedCompletionInfo) {
      setTimeout(async () => (await overlooked()) && offer()); // once the answer is on its way
    }
    return found;
  } finally {
    listening.dispose();
  }
}

/** Whether the window may have given up when it came to an answer: it does what it is sent in turn. */
async function overlooked(): Promise<boolean> {
  await vscode.commands.executeCommand("setContext", "threadrunner.answered", true);
  return Date.now() - changed > WAITS;
}
