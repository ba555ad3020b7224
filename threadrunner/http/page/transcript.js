// A conversation as a file, in the two forms that `threadrunner sessions import` reads.

const HEADING = { 1: /^\\*## (?:User|Assistant)\s*$/, 2: /^\\*## (?:User|Assistant|Thinking|Call|Result)(?: \S+(?: \S+)?)?\s*$/ };
const KEPT = ["name", "model", "backend", "mode", "system", "params", "tools"];

function format(session, turns) {
  return session.tools?.length || turns.some((turn) => turn.tool_calls || turn.tool_results || turn.reasoning) ? 2 : 1;
}

export function toJson(session, turns) {
  return `${JSON.stringify({ threadrunner: format(session, turns), session, turns }, null, 1)}\n`;
}

export function toMarkdown(session, turns) {
  const version = format(session, turns);
  const head = KEPT.filter((name) => session[name] && !["{}", "[]"].includes(JSON.stringify(session[name])));
  const lines = head.map((name) => `${name}: ${JSON.stringify(session[name])}`);
  const parts = [["---", `threadrunner: ${version}`, ...lines, "---", ""].join("\n")];
  for (const turn of turns) {
    for (const [heading, text] of sections(turn)) {
      const escaped = text.split("\n").map((line) => (HEADING[version].test(line) ? `\\${line}` : line)).join("\n");
      parts.push(`## ${heading}\n\n${escaped}\n`);
    }
  }
  return parts.join("\n");
}

function sections(turn) {
  const found = (turn.tool_results ?? []).map((result) => [`Result ${word(result.tool_call_id)}`, result.content]);
  if (turn.prompt || !found.length) found.push(["User", turn.prompt]);
  if (turn.reasoning) found.push(["Thinking", turn.reasoning]);
  const calls = turn.tool_calls ?? [];
  if (turn.answer || (turn.answer !== null && turn.answer !== undefined && !calls.length)) found.push(["Assistant", turn.answer]);
  for (const call of calls) found.push([`Call ${word(call.id)} ${call.function.name}`, String(call.function.arguments)]);
  return found;
}

const word = (id) => encodeURIComponent(id);
const TURN = ["prompt", "answer", "model", "began", "ended", "tool_calls", "tool_results", "reasoning"];

/** Params of `sessions.import` from our own JSON, or a list of chat messages. Throws an Error in plain words. */
export function fromJson(text, name) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error("The file is no JSON. Markdown is imported by: threadrunner sessions import FILE.md");
  }
  if (value?.threadrunner && Array.isArray(value.turns)) {
    const turns = value.turns.map((turn) => Object.fromEntries(TURN.filter((key) => turn[key] != null).map((key) => [key, turn[key]])));
    const kept = Object.fromEntries(KEPT.filter((key) => value.session?.[key] != null).map((key) => [key, value.session[key]]));
    return { name, ...kept, turns };
  }
  const messages = Array.isArray(value) ? value : value?.messages;
  if (!Array.isArray(messages)) throw new Error("This JSON is not a conversation: expected an export of ours, or a list of messages.");
  const read = fromMessages(messages);
  if (!read.turns.length) throw new Error("There is no message of a user in it.");
  return { name, ...read };
}

/** Several messages of one role in a row are one. */
function fromMessages(messages) {
  const system = [];
  const turns = [];
  const open = () => {
    const last = turns.at(-1);
    if (!last || ["answer", "tool_calls", "reasoning"].some((part) => part in last)) turns.push({ prompt: "" });
    return turns.at(-1);
  };
  const joined = (...texts) => texts.filter(Boolean).join("\n\n");
  for (const [i, message] of messages.entries()) {
    const { role, content, tool_calls: calls } = message ?? {};
    const text = content ?? (calls ? "" : null);
    if (typeof text !== "string") throw new Error(`Message ${i + 1} has no text: parts and pictures are not imported.`);
    const last = turns.at(-1);
    if (role === "system" || role === "developer") system.push(text);
    else if (role === "user") open().prompt = joined(open().prompt, text);
    else if (role === "tool" && last) (open().tool_results ??= []).push({ tool_call_id: message.tool_call_id, content: text });
    else if (role === "assistant" && last) {
      last.answer = joined(last.answer, text);
      const thought = [message.reasoning_content, message.reasoning].find((each) => typeof each === "string");
      if (thought !== undefined) last.reasoning = thought;
      const made = (calls ?? []).map(({ id, function: { name, arguments: given } }) => ({ id, type: "function", function: { name, arguments: given } }));
      if (made.length) last.tool_calls = [...(last.tool_calls ?? []), ...made];
    } else throw new Error(`Message ${i + 1}: one of role ${role} is not expected there.`);
  }
  return { turns, ...(system.length ? { system: system.join("\n\n") } : {}) };
}
