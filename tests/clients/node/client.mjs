// A client of VS Code's own protocol library: opens a file, types, accepts, and prints what the file became.
//
//   node client.mjs CASE.json      {command, text, line, character, keys, manual}

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const rpc = createRequire(import.meta.url)("vscode-languageserver-protocol/node");
const test = JSON.parse(readFileSync(process.argv[2], "utf8"));
const server = spawn(test.command[0], test.command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
const connection = rpc.createProtocolConnection(
  new rpc.StreamMessageReader(server.stdout),
  new rpc.StreamMessageWriter(server.stdin),
);
const messages = [];
connection.onNotification((method, params) => messages.push({ method, params }));
connection.onRequest(rpc.WorkDoneProgressCreateRequest.type, () => null);
connection.listen();

const uri = "file:///work/a.py";
let text = test.text;
let version = 1;

const { capabilities } = await connection.sendRequest(rpc.InitializeRequest.type, {
  processId: process.pid,
  rootUri: null,
  workspaceFolders: [{ uri: "file:///work", name: "work" }],
  capabilities: { textDocument: { inlineCompletion: {} }, window: { workDoneProgress: true } },
  initializationOptions: { debounceMs: 0, speculate: false },
});
await connection.sendNotification(rpc.InitializedNotification.type, {});
await connection.sendNotification(rpc.DidOpenTextDocumentNotification.type, {
  textDocument: { uri, languageId: "python", version, text },
});

// Offsets in UTF-16 units, as JavaScript has them.
const lineStart = (line) => text.split("\n").slice(0, line).reduce((sum, each) => sum + each.length + 1, 0);
const offset = (position) => lineStart(position.line) + position.character;

async function replace(range, by) {
  text = text.slice(0, offset(range.start)) + by + text.slice(offset(range.end));
  await connection.sendNotification(rpc.DidChangeTextDocumentNotification.type, {
    textDocument: { uri, version: ++version },
    contentChanges: [{ range, text: by }],
  });
}

const inline = (position, token) =>
  connection.sendRequest(
    rpc.InlineCompletionRequest.type,
    { textDocument: { uri }, position, context: { triggerKind: 2 } },
    token,
  );

const position = { line: test.line, character: test.character };
const cancelled = [];
for (const key of test.keys) {
  // As VS Code does it: the next key cancels first, then changes the text, then asks again.
  const source = new rpc.CancellationTokenSource();
  const answer = inline({ ...position }, source.token).then(
    () => "answered",
    (error) => error.code,
  );
  source.cancel();
  await replace({ start: { ...position }, end: { ...position } }, key);
  position.character += key.length;
  cancelled.push(await answer);
}
const found = await inline(position);
const item = found.items[0];
if (item) {
  await replace(item.range, item.insertText);
  await connection.sendRequest(rpc.ExecuteCommandRequest.type, item.command);
}
const status = await connection.sendRequest("threadrunner/status", {});
await connection.sendRequest(rpc.ShutdownRequest.type);
await connection.sendNotification(rpc.ExitNotification.type);
const code = await new Promise((resolve) => server.on("exit", resolve));
console.log(JSON.stringify({ text, capabilities, cancelled, status, code, items: found.items.length }));
connection.dispose();
