// The conversation that is shown, and the answers that are under way in any of them.

import { call, Failure } from "./api.js";
import { h, icon, iconButton, mark, say } from "./dom.js";
import { shortModel } from "./names.js";
import { TurnView } from "./turn.js";

const PORTION = 40; // turns that are loaded at first, and with each look further back

/** An answer under way: all that has been said, wherever it is shown. */
export class Answer {
  constructor(app, source) {
    this.app = app;
    Object.assign(this, { source, session: null, view: null, text: "", thought: "", calls: [], progress: null, done: null, failed: null, stopped: false, frame: null, rests: 0 });
  }

  /** Read to the end. `named` is called when its conversation is known. Throws Failure for what is refused; what breaks off
   * later has failed. */
  async read(named) {
    try {
      await this.readLines(named);
    } catch (failure) {
      if (!(failure instanceof Failure) || this.session === null) throw failure;
    }
    cancelAnimationFrame(this.frame);
    this.flow();
    if (!this.done && !this.failed && !this.stopped) this.failed = { kind: "Offline", message: "The connection to threadrunner serve was lost." };
  }

  async readLines(named) {
    for await (const values of this.source) {
      for (const value of values) {
        if (value.session) named((this.session = value.session), value.prompt);
        else this.take(value);
      }
      this.soon();
    }
  }

  take(value) {
    if (value.text !== undefined) this.text += value.text;
    else if (value.thought !== undefined) this.thought += value.thought;
    else if (value.call) this.takeCall(value.call);
    else if (value.progress) this.progress = value.progress;
    else Object.assign(this, value);
  }

  takeCall({ index, name, arguments: text }) {
    const call = (this.calls[index] ??= { name: "", arguments: "" });
    if (name) call.name = name;
    call.arguments += text;
  }

  /** Once a frame, however many pieces come, and in a third of the time at most. A hidden tab has no frames, and needs
   * none. */
  soon() {
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      if (now < this.rests) this.soon();
      else this.flow();
    });
  }

  flow() {
    if (!this.view) return;
    const began = performance.now();
    this.view.flow(this);
    this.app.talk.follow();
    const ended = performance.now();
    this.rests = ended + 2 * (ended - began);
  }
}

export class Talk {
  constructor(app) {
    this.app = app;
    this.scroll = document.getElementById("scroll");
    this.root = document.getElementById("talk");
    this.turns = new Map();
    this.session = null;
    this.sticks = true;
    this.jump = iconButton("down", "To the end", () => this.toEnd(true), { class: "jump", hidden: true });
    document.getElementById("main").append(this.jump);
    this.scroll.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.follow()).observe(this.root);
    this.acts = { edit: (view) => this.edit(view), again: (view) => this.again(view), fork: (view) => this.fork(view), chooseModel: () => app.composer.pickModel() };
  }

  // What is shown

  empty() {
    this.session = null;
    this.turns.clear();
    const ideas = ["Explain how DNS works, as to a curious friend", "Write a Python function that finds duplicate files", "Plan three dinners from rice, eggs and spinach", "Make this sentence clearer: "];
    this.root.replaceChildren(h("div", { class: "hello" }, mark(), h("h1", {}, "What shall we think about?"),
      h("div", { class: "ideas" }, ideas.map((idea) => h("button", { type: "button", onclick: () => this.app.suggest(idea) }, idea)))));
    this.root.classList.add("empty");
    this.jump.hidden = true;
    this.used();
  }

  /** In the place of a conversation that cannot be shown. */
  fault(failure, again) {
    this.session = null;
    this.turns.clear();
    this.root.classList.remove("empty");
    this.root.replaceChildren(h("div", { class: "note bad", role: "alert" }, icon("warn"), h("span", {}, failure.message),
      h("button", { type: "button", onclick: again }, "Try again")));
  }

  /** Show a conversation as it is in the daemon. Throws Failure. */
  async load(name, turn = null) {
    const span = turn ? { after: Math.max(0, turn - 5) } : { last: PORTION };
    const shown = await call("sessions.show", { session: name, ...span });
    if (this.app.current !== name) return;
    while (shown.more) {
      const next = await call("sessions.show", { session: name, after: shown.turns.at(-1).number });
      shown.turns.push(...next.turns);
      shown.more = next.more;
    }
    if (this.app.current !== name) return;
    this.session = shown.session;
    this.turns.clear();
    this.root.classList.remove("empty");
    this.root.replaceChildren(...shown.turns.map((each) => this.made(each)));
    this.earlier();
    this.window();
    this.used();
    if (turn) this.reveal(turn);
    else this.toEnd();
  }

  made(turn) {
    const view = new TurnView(turn, this.acts);
    this.turns.set(turn.number, view);
    return view.element;
  }

  get last() {
    return [...this.turns.values()].at(-1);
  }

  get first() {
    return this.turns.values().next().value;
  }

  earlier() {
    const before = (this.first?.turn.number ?? 1) - 1;
    if (!before) return;
    const button = h("button", { type: "button", class: "earlier", onclick: () => this.lookBack(button) }, `${before} earlier turn${before > 1 ? "s" : ""}`);
    this.root.prepend(button);
  }

  async lookBack(button) {
    const first = this.first.turn.number;
    const { turns } = await call("sessions.show", { session: this.session.name, after: Math.max(0, first - 1 - PORTION) });
    const old = turns.filter(({ number }) => number < first);
    const later = [...this.turns.values()];
    const from = this.scroll.scrollHeight - this.scroll.scrollTop;
    this.turns.clear();
    button.replaceWith(...old.map((each) => this.made(each)));
    for (const view of later) this.turns.set(view.turn.number, view);
    this.earlier();
    this.window();
    this.scroll.scrollTop = this.scroll.scrollHeight - from;
  }

  /** A line where the model's view of the conversation begins. */
  window() {
    this.root.querySelector(".unseen-line")?.remove();
    const views = [...this.turns.values()];
    const begins = views.findIndex(({ turn }) => turn.in_window !== false);
    for (const view of views) view.element.classList.toggle("out", view.turn.in_window === false);
    if (begins > 0) views[begins].element.before(h("p", { class: "unseen-line" }, "The context is full: the model is not shown what is above."));
  }

  used() {
    const turn = [...this.turns.values()].map((view) => view.turn).filter((each) => each.prompt_tokens).at(-1);
    this.app.composer.fill(turn ? turn.prompt_tokens + (turn.completion_tokens ?? 0) - (turn.reasoning_tokens ?? 0) : 0);
  }

  reveal(number) {
    const view = this.turns.get(number);
    if (!view) return;
    this.sticks = false;
    view.element.scrollIntoView({ block: "center" });
    view.element.classList.add("found");
    view.element.focus({ preventScroll: true });
    setTimeout(() => view.element.classList.remove("found"), 2000);
  }

  step(by) {
    const all = [...this.turns.values()];
    const middle = this.scroll.getBoundingClientRect().top + 80;
    const at = all.findIndex((view) => view.element.getBoundingClientRect().bottom > middle + 1);
    const next = all[Math.max(0, Math.min(all.length - 1, (at < 0 ? all.length - 1 : at) + by))];
    this.sticks = false;
    next?.element.scrollIntoView({ block: "start" });
    next?.element.focus({ preventScroll: true });
  }

  // Scrolling

  scrolled() {
    const left = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight;
    this.sticks = left < 60;
    this.jump.hidden = left < 300;
  }

  follow() {
    if (this.sticks) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  toEnd(smoothly = false) {
    this.sticks = true;
    this.scroll.scrollTo({ top: this.scroll.scrollHeight, behavior: smoothly ? "smooth" : "instant" });
  }

  // Asking

  /** A turn in place of the last `replace` ones, being answered. */
  begin(prompt, replace = 0, pictures = 0) {
    if (!this.turns.size) this.root.replaceChildren();
    this.root.classList.remove("empty");
    const replaced = replace ? [...this.turns.values()].slice(-replace) : [];
    pictures ||= replaced[0]?.turn.pictures;
    replaced.forEach((view) => this.drop(view));
    const number = (this.last?.turn.number ?? 0) + 1;
    this.root.append(this.made({ number, prompt, pictures, state: "done", answer: "" }));
    this.last.begin();
    this.last.replaced = replaced;
    this.toEnd();
    return this.last;
  }

  drop(view) {
    this.turns.delete(view.turn.number);
    view.element.remove();
  }

  /** What has been refused was never said. */
  takeBack(view) {
    this.drop(view);
    for (const old of view.replaced) {
      this.turns.set(old.turn.number, old);
      this.root.append(old.element);
    }
  }

  /** The turn as it is `kept` (null: nothing is known of that), now that its answer has ended. */
  settle(answer, kept) {
    const { view, done, failed } = answer;
    const turn = kept?.turns.find(({ number }) => number === view.turn.number)
      ?? { ...view.turn, answer: answer.text, reasoning: answer.thought, state: failed ? "failed" : answer.stopped ? "stopped" : "done" };
    if (turn.state === "open") Object.assign(turn, { state: "stopped", answer: answer.text, reasoning: answer.thought });
    if (failed) Object.assign(turn, { state: "failed", error: failed.kind, message: failed.message });
    if (done) {
      const { timings, usage } = done;
      Object.assign(turn, { rate: timings.tokens_per_second, first: timings.ttft_ms / 1000, finish: done.finish_reason, completion_tokens: usage.completion_tokens });
    }
    if (kept) this.app.composer.learn((this.session = kept.session));
    const folds = [...view.element.querySelectorAll("details")].some((fold) => fold.dataset.mine);
    view.show(turn);
    if (folds) view.element.querySelector(".answer details")?.setAttribute("open", "");
    this.window();
    this.used();
    this.follow();
    say(failed ? `The answer failed. ${failed.message}` : answer.stopped ? "Stopped" : `The answer is complete, ${shortModel(turn.model ?? "")}`);
  }

  edit(view) {
    if (view.editing || this.app.busy) return;
    const later = this.last.turn.number - view.turn.number;
    const area = h("textarea", { "aria-label": "Edit your message" });
    area.value = view.turn.prompt;
    const end = () => {
      view.editing = false;
      form.replaceWith(old);
      old.querySelector("button")?.focus();
    };
    const sending = (copy) => {
      const prompt = area.value.trim();
      if (!prompt && !view.turn.pictures) return;
      end();
      copy ? this.app.forkAt(view.turn.number, prompt) : this.app.send({ prompt, replace: later + 1 });
    };
    const words = later ? `The ${later === 1 ? "turn" : `${later} turns`} after it will go.` : "";
    const form = h("form", { class: "edit", onsubmit: (event) => (event.preventDefault(), sending(false)) }, area,
      h("div", { class: "row" }, h("span", { class: "hint" }, words), h("button", { type: "button", onclick: end }, "Cancel"),
        h("button", { type: "button", onclick: () => sending(true), title: "Leaves this conversation as it is" }, "Send in a copy"),
        h("button", { type: "submit", class: "main" }, "Send")));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (event.stopPropagation(), end());
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), sending(false));
    });
    const old = view.element.querySelector(".prompt");
    view.editing = true;
    old.replaceWith(form);
    area.style.height = `${Math.min(area.scrollHeight + 4, innerHeight * 0.5)}px`;
    area.focus();
  }

  editLast() {
    if (!this.last || this.app.busy) return false;
    this.last.element.scrollIntoView({ block: "nearest" });
    this.edit(this.last);
    return true;
  }

  again(view) {
    const later = this.last.turn.number - view.turn.number;
    if (later) this.app.forkAt(view.turn.number, view.turn.prompt);
    else this.app.send({ prompt: view.turn.prompt, replace: 1 });
  }

  fork(view) {
    this.app.forkAt(view.turn.number);
  }
}
