// Speaks to the daemon over its socket with vscode-jsonrpc: streaming, concurrency, cancellation, errors.
// usage: node client.cjs SOCKET      prints one JSON object of what it saw
const net = require("node:net");
const rpc = require("vscode-jsonrpc/node");

const socket = net.connect(process.argv[2]);
const connection = rpc.createMessageConnection(
  new rpc.SocketMessageReader(socket), new rpc.SocketMessageWriter(socket));

const pieces = [];
let onToken = () => {};
connection.onNotification("token", (params) => { pieces.push(params); onToken(params); });
connection.listen();

const token = () => new Promise((resolve) => { onToken = resolve; });

async function main() {
  const seen = {};
  const answer = await connection.sendRequest("generate", { prompt: "Grüße, 🌍!" });
  seen.text = answer.text;
  seen.streamed = pieces.map((piece) => piece.text).join("");

  const many = await Promise.all(
    [...Array(20).keys()].map((n) => connection.sendRequest("generate", { prompt: `number ${n}`, stream: false })));
  seen.many = many.map((one) => one.text);

  const cancel = new rpc.CancellationTokenSource();
  const first = token();
  const endless = connection.sendRequest("generate", { prompt: "drip", backend: "trouble" }, cancel.token);
  await first;
  cancel.cancel();
  seen.cancelled = await endless.then(() => null, (error) => error.code);

  seen.unknown = await connection.sendRequest("nothing").then(() => null, (error) => error.code);
  seen.invalid = await connection.sendRequest("generate", { prompt: 7 }).then(() => null, (error) => error.data);
  seen.pid = (await connection.sendRequest("status", {})).pid;
  console.log(JSON.stringify(seen));
  connection.end();
  socket.end();
}

main().catch((error) => { console.error(error); process.exit(1); });
