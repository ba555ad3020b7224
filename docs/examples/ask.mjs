// Ask from Node, without dependencies: streams the answer; Ctrl-C cancels it.
//
//     node docs/examples/ask.mjs "name three colours"
//
// Copy the class to use it in your program: any number of requests may be under way on one connection.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import os from "node:os";

function socketPath() {
  const { THREADRUNNER_SOCKET, THREADRUNNER_HOME, XDG_RUNTIME_DIR } = process.env;
  if (THREADRUNNER_SOCKET) return THREADRUNNER_SOCKET;
  if (XDG_RUNTIME_DIR) return `${XDG_RUNTIME_DIR}/threadrunner/daemon.sock`;
  return `${THREADRUNNER_HOME || `${os.homedir()}/.threadrunner`}/run/daemon.sock`;
}

class Daemon {
  #socket;
  #rest = ""; // the beginning of a line whose end has not arrived
  #requests = new Map(); // id -> { resolve, reject, onNotification }
  #lastId = 0;

  static async connect(path = socketPath()) {
    const dial = async () => {
      const socket = net.connect(path);
      await once(socket, "connect");
      return socket;
    };
    try {
      return new Daemon(await dial());
    } catch (error) {
      if (error.code !== "ENOENT" && error.code !== "ECONNREFUSED") throw error;
      execFileSync("threadrunner", ["load"], { stdio: "ignore" }); // no daemon: this starts it
      return new Daemon(await dial());
    }
  }

  constructor(socket) {
    this.#socket = socket;
    socket.setEncoding("utf8"); // keeps a character together whose bytes arrive apart
    socket.on("data", (text) => {
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop();
      for (const line of lines) this.#receive(JSON.parse(line));
    });
    socket.on("close", () => {
      for (const { reject } of this.#requests.values()) reject(new Error("the daemon ended before it had answered"));
    });
  }

  // { result, cancel }: a promise, and a function that makes it fail with code -32800.
  request(method, params, onNotification = () => {}) {
    const id = ++this.#lastId;
    const result = new Promise((resolve, reject) => this.#requests.set(id, { resolve, reject, onNotification }));
    this.#send({ jsonrpc: "2.0", id, method, params });
    const cancel = () => this.#send({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } });
    return { result, cancel };
  }

  close() {
    this.#socket.end(); // also cancels what is under way
  }

  #send(message) {
    this.#socket.write(JSON.stringify(message) + "\n");
  }

  #receive(message) {
    const request = this.#requests.get(message.id ?? message.params?.request);
    if (!request) return;
    if (message.method) return request.onNotification(message.method, message.params);
    this.#requests.delete(message.id);
    if (message.error) request.reject(Object.assign(new Error(message.error.message), message.error));
    else request.resolve(message.result);
  }
}

const daemon = await Daemon.connect();
const { result, cancel } = daemon.request("generate", { prompt: process.argv.slice(2).join(" ") }, (name, params) => {
  if (name === "token" && !params.kind) process.stdout.write(params.text);
});
process.once("SIGINT", cancel);
try {
  const { model, usage } = await result;
  console.log();
  console.error(`[${model}: ${usage.completion_tokens} tokens]`);
} catch (error) {
  console.error(`\n${error.message}`);
  process.exitCode = error.code === -32800 ? 130 : 1;
}
daemon.close();
