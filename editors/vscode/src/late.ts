// Suggestions that come later than VS Code waits.
//
// 750 ms after a key, VS Code cancels the request for inline suggestions and looks for words instead
// (`editor.quickSuggestions`: offWhenInlineCompletions, its default). A model on a small machine may need longer, and
// nothing would ever be shown. So a request goes on while neither the text nor the cursor has changed, and when it is
// answered VS Code is told to ask again.

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

let late: Late | undefined;

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
    if (token.isCancellationRequested && !ours.token.isCancellationRequested && items?.length && !moved()) {
      late = { found, uri: document.uri.toString(), version, position };
      void vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
    }
    return found;
  } finally {
    listening.dispose();
  }
}
