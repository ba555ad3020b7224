// One turn: what was asked, and the answer, finished or under way.

import { MarkdownView, render } from "./markdown.js";
import { copyButton, h, icon, iconButton, number } from "./dom.js";
import { splitFiles } from "./files.js";
import { shortModel } from "./names.js";

const STATES = {
  stopped: "Stopped; what had been said is kept.",
  lost: "This answer was lost: the daemon ended while it was being written.",
  open: "Being answered by another program…",
};
const ERRORS = {
  WorkerCrashed: "The model's process ended. Your next message loads it again.",
  ModelNotFound: "There is no such model here.",
  ModelLoadFailed: "The model could not be loaded; threadrunner logs says why.",
  ContextOverflow: "The message is longer than what the model can read at once. Shorten it, or take parts of its files.",
  Timeout: "The time for this answer was over.",
  Overloaded: "Too many requests are waiting.",
  FetchFailed: "The model could not be fetched.",
};
const STAGES = { load: "Loading the model", prefill: "Reading", download: "Fetching the model" };

export class TurnView {
  /** `acts` are what its buttons do: edit, again, fork, chooseModel. */
  constructor(turn, acts) {
    this.acts = acts;
    this.element = h("article", { class: "turn", tabindex: "-1" });
    this.show(turn);
  }

  show(turn) {
    this.turn = turn;
    this.live = null;
    this.element.classList.remove("live");
    this.element.dataset.number = turn.number;
    this.element.setAttribute("aria-label", `Turn ${turn.number}`);
    this.element.replaceChildren(...[...this.results(), this.prompt(), this.answer()].filter(Boolean));
  }

  results() {
    return (this.turn.tool_results ?? []).map((result) =>
      folded("tool", "Result", `of ${result.tool_call_id}`, h("pre", {}, result.content)));
  }

  prompt() {
    const { prompt, pictures } = this.turn;
    if (!prompt && this.turn.tool_results) return null;
    const { text, files } = splitFiles(prompt);
    const body = h("div", { class: "said" }, text);
    const long = text.length > 1600 || text.split("\n").length > 18;
    if (long) {
      body.classList.add("long");
      body.append(h("button", { type: "button", class: "unfold", onclick: () => body.classList.toggle("whole") }, ""));
    }
    return h("section", { class: "prompt", "aria-label": "You" }, body,
      h("div", { class: "files" }, pictures && h("span", { class: "pictures" }, icon("clip"), pictures === 1 ? "1 picture" : `${pictures} pictures`), files.map((file) => folded("file", file.name, `${number(file.text.length)} characters`, h("pre", {}, file.text)))),
      h("div", { class: "acts" },
        iconButton("pen", "Edit", () => this.acts.edit(this)),
        copyButton("Copy", () => prompt)));
  }

  answer() {
    const { turn } = this;
    this.body = h("div", { class: "text" });
    if (turn.answer) render(this.body, turn.answer);
    return h("section", { class: "answer", "aria-label": "Answer" },
      turn.reasoning && folded("", "Thought", tokens(turn.reasoning_tokens), h("div", { class: "thought" }, turn.reasoning)),
      this.body,
      (turn.tool_calls ?? []).map((call) => callView(call.function.name, call.function.arguments)),
      this.note(turn),
      h("div", { class: "acts" },
        turn.answer && copyButton("Copy the answer", () => turn.answer),
        iconButton("again", "Answer again", () => this.acts.again(this)),
        iconButton("fork", "Continue from here in a copy", () => this.acts.fork(this)),
        h("span", { class: "facts" }, facts(turn))));
  }

  note(turn) {
    if (turn.state === "done") return null;
    const failed = turn.state === "failed";
    const text = turn.message ?? (failed ? ERRORS[turn.error] ?? `This answer failed: ${turn.error}.` : STATES[turn.state]);
    const again = turn.state !== "open" && h("button", { type: "button", onclick: () => this.acts.again(this) }, "Try again");
    const choose = turn.error === "ModelNotFound" && h("button", { type: "button", onclick: () => this.acts.chooseModel() }, "Choose a model");
    return h("div", { class: failed ? "note bad" : "note", role: failed ? "alert" : null }, failed && icon("warn"), h("span", {}, text), choose, again);
  }

  // While it is being answered

  begin() {
    this.element.classList.add("live");
    this.live = { thought: "", text: "", calls: [] };
    this.view = new MarkdownView(this.body = h("div", { class: "text" }));
    this.thought = null;
    this.callViews = [];
    this.status = h("div", { class: "status" }, h("span", {}, "Waiting"), h("progress", { hidden: true, "aria-label": "Progress" }));
    const section = h("section", { class: "answer", "aria-label": "Answer", "aria-busy": "true" }, this.body, this.status);
    const old = this.element.querySelector(".answer");
    old ? old.replaceWith(section) : this.element.append(section);
    this.waits = setTimeout(() => this.element.classList.add("waits"), 400);
  }

  /** Show what has come; at most once a frame. */
  flow(answer) {
    const { text, thought, calls, progress } = answer;
    if (text || thought || calls.length) this.quiet();
    else if (progress) this.progress(progress);
    if (thought !== this.live.thought) this.think(thought, text);
    if (text !== this.live.text) {
      if (this.thought && !this.live.text) this.thought.open = this.thought.dataset.mine === "1";
      this.view.update(text);
    }
    calls.forEach((call, i) => {
      this.callViews[i] ??= this.body.parentElement.appendChild(callView(call.name, ""));
      this.callViews[i].querySelector("code").textContent = call.arguments;
    });
    this.live = { text, thought, calls };
  }

  think(thought, text) {
    if (!this.thought) {
      this.thoughtText = document.createTextNode("");
      this.thought = folded("", "Thinking", "", h("div", { class: "thought" }, this.thoughtText));
      this.thought.open = !text;
      this.thought.querySelector("summary").addEventListener("click", () => (this.thought.dataset.mine = "1"));
      this.body.before(this.thought);
    }
    this.thoughtText.appendData(thought.slice(this.live.thought.length));
  }

  progress({ stage, done, total }) {
    const [label, bar] = this.status.children;
    const count = stage === "prefill" && total ? ` ${number(done)} of ${number(total)} tokens` : "";
    label.textContent = `${STAGES[stage] ?? stage}${count}`;
    bar.hidden = false;
    this.element.classList.add("waits");
    if (total) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
  }

  quiet() {
    clearTimeout(this.waits);
    this.status.hidden = true;
    this.element.classList.remove("waits");
  }
}

/** A fold that is closed, with a name and something about it. */
function folded(sign, name, about, ...content) {
  return h("details", { class: "fold" }, h("summary", {}, sign && icon(sign), h("b", {}, name), about && h("span", {}, about)), ...content);
}

function callView(name, text) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Broken off, or no JSON: as it is.
  }
  const made = folded("tool", name, "is asked for", h("pre", {}, h("code", {}, shown)));
  made.open = true;
  return made;
}

const tokens = (count) => (count ? `${number(count)} tokens` : "");

function facts(turn) {
  const found = [turn.model && shortModel(turn.model), tokens(turn.completion_tokens)];
  if (turn.rate) found.push(`${turn.rate >= 10 ? Math.round(turn.rate) : turn.rate.toFixed(1)} a second`);
  if (turn.first) found.push(`began after ${turn.first < 10 ? turn.first.toFixed(1) : Math.round(turn.first)} s`);
  if (turn.finish === "length") found.push("cut at its limit");
  return found.filter(Boolean).join("  ·  ");
}
