// ThreadRunner for VS Code: starts `threadrunner lsp` and leaves suggestions and code actions to the protocol.
// Ours: the status bar, the settings, asking and rewriting by instruction.

import * as vscode from "vscode";
import { LanguageClient, LanguageClientOptions, ServerOptions, StaticFeature } from "vscode-languageclient/node";
import { listen, provideInlineCompletionItems } from "./late";

interface Status {
  state: "starting" | "ready" | "loading" | "error" | "stopped";
  message: string;
}

const SETTINGS = [
  "enable", "trigger", "model", "chatModel", "languages", "disabledFiles", "debounceMs", "maxTokens", "contextTokens",
  "count",
];

let client: LanguageClient | undefined;
let bar: vscode.StatusBarItem;
let output: vscode.OutputChannel;
let log: vscode.LogOutputChannel;
let asked = 0;
const listening = new Map<number, (text: string) => void>();

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  output = vscode.window.createOutputChannel("ThreadRunner", "markdown");
  log = vscode.window.createOutputChannel("ThreadRunner server", { log: true }); // once: a restart goes on in it
  bar = vscode.window.createStatusBarItem("threadrunner", vscode.StatusBarAlignment.Right, 90);
  bar.name = "ThreadRunner";
  bar.command = "threadrunner.showStatus";
  bar.show();
  const command = (name: string, action: () => Promise<void>) =>
    context.subscriptions.push(vscode.commands.registerCommand(`threadrunner.${name}`, action));
  command("ask", ask);
  command("rewriteSelection", rewrite);
  command("showStatus", showStatus);
  command("restart", async () => {
    await stop();
    await start();
  });
  context.subscriptions.push(
    bar,
    output,
    log,
    listen(),
    vscode.workspace.onDidChangeConfiguration(async (event) => {
      if (event.affectsConfiguration("threadrunner.command")) {
        await stop();
        await start();
      } else if (event.affectsConfiguration("threadrunner")) {
        await client?.sendNotification("workspace/didChangeConfiguration", { settings: { threadrunner: settings() } });
      }
    }),
  );
  await start();
}

export async function deactivate(): Promise<void> {
  await stop();
}

function settings(): Record<string, unknown> {
  const configured = vscode.workspace.getConfiguration("threadrunner");
  const found: Record<string, unknown> = {};
  for (const name of SETTINGS) {
    const value = configured.get(name);
    if (value !== null && value !== undefined) {
      found[name] = value;
    }
  }
  return found;
}

// Tells the server that we show its status; others would call the notification unknown.
const wantsStatus: StaticFeature = {
  fillClientCapabilities: (capabilities) => {
    capabilities.experimental = { ...(capabilities.experimental ?? {}), threadrunner: { status: true } };
    // Settings are sent, not fetched: `threadrunner.command` is ours, and the server would refuse to know it.
    if (capabilities.workspace) {
      capabilities.workspace.configuration = false;
    }
  },
  initialize: () => undefined,
  getState: () => ({ kind: "static" }),
  clear: () => undefined,
};

async function start(): Promise<void> {
  const [program, ...args] = vscode.workspace.getConfiguration("threadrunner").get<string[]>("command", []);
  if (!program) {
    show({ state: "stopped", message: "threadrunner.command is empty" });
    return;
  }
  const server: ServerOptions = { command: program, args };
  const options: LanguageClientOptions = {
    documentSelector: [{ scheme: "file" }, { scheme: "untitled" }, { scheme: "vscode-notebook-cell" }],
    initializationOptions: settings(),
    outputChannel: log,
    middleware: { provideInlineCompletionItems },
  };
  client = new LanguageClient("threadrunner", "ThreadRunner", server, options);
  client.registerFeature(wantsStatus);
  client.onNotification("threadrunner/status", show);
  client.onNotification("threadrunner/token", (params: { stream: number; text: string }) =>
    listening.get(params.stream)?.(params.text),
  );
  show({ state: "starting", message: "" });
  try {
    await client.start();
    show({ state: "ready", message: "" });
  } catch (error) {
    show({ state: "stopped", message: `${program} could not be started: ${error}` });
    void vscode.window.showErrorMessage(
      `ThreadRunner: ${program} could not be started. Set threadrunner.command to its full path, e.g. ["/path/to/threadrunner", "lsp"].`,
    );
  }
}

async function stop(): Promise<void> {
  const old = client;
  client = undefined;
  await old?.dispose();
}

function show(status: Status): void {
  const icons = { starting: "loading~spin", ready: "sparkle", loading: "loading~spin", error: "warning", stopped: "circle-slash" };
  bar.text = `$(${icons[status.state]}) ThreadRunner`;
  bar.tooltip = status.message || `ThreadRunner: ${status.state}`;
  bar.backgroundColor = status.state === "error" ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
}

function selection(): { uri: string; range: { start: vscode.Position; end: vscode.Position } } | undefined {
  const editor = vscode.window.activeTextEditor;
  if (!editor || editor.selection.isEmpty) {
    return undefined;
  }
  return {
    uri: editor.document.uri.toString(),
    range: { start: editor.selection.start, end: editor.selection.end },
  };
}

async function ask(): Promise<void> {
  const question = await vscode.window.showInputBox({ prompt: "Ask ThreadRunner", placeHolder: "What does this do?" });
  if (!question || !client) {
    return;
  }
  const stream = ++asked;
  output.show(true);
  output.appendLine(`\n## ${question}\n`);
  listening.set(stream, (text) => output.append(text));
  await vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: "ThreadRunner", cancellable: true },
    async (_, token) => {
      try {
        const params = {
          command: "threadrunner.chat",
          arguments: [{ prompt: question, stream, ...selection() }],
        };
        await client?.sendRequest("workspace/executeCommand", params, token);
      } catch (error) {
        if (!token.isCancellationRequested) {
          output.appendLine(`\n*${error}*`);
        }
      } finally {
        listening.delete(stream);
        output.appendLine("");
      }
    },
  );
}

async function rewrite(): Promise<void> {
  const chosen = selection();
  const instruction =
    chosen && (await vscode.window.showInputBox({ prompt: "Rewrite the selection", placeHolder: "make it async" }));
  if (!chosen || !instruction) {
    return;
  }
  await vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: "ThreadRunner rewrites", cancellable: true },
    async (_, token) => {
      const params = { command: "threadrunner.rewrite", arguments: [chosen.uri, chosen.range, instruction] };
      await client?.sendRequest("workspace/executeCommand", params, token);
    },
  );
}

async function showStatus(): Promise<void> {
  const status = await client?.sendRequest("threadrunner/status", {});
  const document = await vscode.workspace.openTextDocument({
    language: "json",
    content: JSON.stringify(status ?? { state: "stopped" }, null, 2),
  });
  await vscode.window.showTextDocument(document, { preview: true });
}
