// Puts the page together: which conversation is open, what is said to whom, keys.

import { call, Failure, lines, setKey, TAB, takeKey } from "./api.js";
import { Composer } from "./composer.js";
import { download, h, iconButton } from "./dom.js";
import { List } from "./list.js";
import { address, title } from "./names.js";
import { closePanel, dialog, help, menu, MOD, panelIsOpen, toast } from "./overlay.js";
import { Answer, Talk } from "./talk.js";
import { fromJson, toJson, toMarkdown } from "./transcript.js";

const UNDO_SECONDS = 7;
const PHONE = matchMedia("(max-width: 760px)");

class App {
  current = null; // the open conversation's name
  answers = new Map(); // under way, by conversation
  beginning = null; // the one whose conversation has no name yet
  models = [];
  modes = [];
  status = null;
  daemon = null;

  constructor() {
    this.theme(localStorage.getItem("threadrunner.theme") ?? "");
    this.list = new List(this, document.getElementById("side"));
    this.composer = new Composer(this, document.getElementById("foot"));
    this.talk = new Talk(this);
    this.head();
    document.getElementById("scrim").addEventListener("click", () => this.toggleSide(false));
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("pagehide", () => this.deleting.forEach((finish) => finish()));
    document.addEventListener("visibilitychange", () => this.visible());
    if (localStorage.getItem("threadrunner.side") === "closed" && !PHONE.matches) document.body.classList.add("closed");
  }

  async start() {
    takeKey();
    await Promise.all([this.route(), this.refresh(), this.reload()]);
    this.visible();
  }

  get busy() {
    return this.current === null ? this.beginning !== null : this.answers.has(this.current);
  }

  // What there is

  async refresh() {
    try {
      const state = await call("state");
      Object.assign(this, { models: state.models, modes: state.modes, status: state.status, live: new Set(state.live) });
      if (state.status.backend !== "llama") this.models = [{ name: state.status.backend, present: true, default: true, description: "a backend without a model" }];
      this.composer.labels();
      this.list.daemon(this.status, this.daemon);
      this.talk.used();
    } catch (failure) {
      this.failed(failure);
    }
  }

  async reload() {
    await this.list.load().catch((failure) => this.failed(failure));
  }

  /** Hidden tabs do not listen: a browser has six connections for all tabs of a server. */
  async visible() {
    this.listening?.abort();
    this.listening = null;
    if (document.hidden) return;
    const mine = (this.listening = new AbortController());
    for (let wait = 1; !mine.signal.aborted; wait = Math.min(wait * 2, 15)) {
      let deaf = true;
      try {
        for await (const events of lines("events", {}, mine.signal)) {
          wait = 1;
          for (const event of events) this.heard(event);
          if (deaf) this.catchUp();
          deaf = false;
        }
      } catch (failure) {
        if (mine.signal.aborted) return;
        if (failure.kind === "Offline") this.offline ??= toast(failure.message, null, 3600);
      }
      await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    }
  }

  /** What has changed while nothing was heard. */
  catchUp() {
    this.offline?.();
    this.offline = null;
    if (this.daemon === "gone") return; // to ask would start it
    this.soonRefresh();
    this.reload();
    if (this.current && !this.busy) this.look();
  }

  heard(event) {
    if (event.daemon) {
      const came = this.daemon === "gone" && event.daemon === "there";
      this.daemon = event.daemon;
      if (came) this.reload();
      if (event.daemon === "there") this.soonRefresh();
      else this.list.daemon(null, "gone");
    } else if (event.change) {
      if (event.by !== TAB) this.elsewhere(event);
    } else if (event.event) this.soonRefresh();
  }

  soonRefresh() {
    clearTimeout(this.refreshing);
    this.refreshing = setTimeout(() => this.refresh(), 150);
  }

  /** Another tab has changed something. */
  elsewhere({ session, change }) {
    this.reload();
    if (session !== this.current || this.busy) return;
    if (change === "sessions.delete") this.go(null);
    else if (change === "sessions.rename") this.route();
    else if (change !== "ended") this.look();
  }

  /** Look again at the open conversation, without moving it. */
  async look() {
    const name = this.current;
    const { scrollTop } = this.talk.scroll;
    const { sticks } = this.talk;
    try {
      const { session, turns } = await call("sessions.show", { session: name, last: 1 });
      const last = this.talk.last?.turn;
      if (this.current !== name || (session.turns === (last?.number ?? 0) && turns[0]?.began === last?.began && turns[0]?.state === last?.state)) return;
      await this.open(name);
      if (!sticks) this.talk.scroll.scrollTop = scrollTop;
    } catch (failure) {
      if (failure.kind === "SessionNotFound") this.go(null);
    }
  }

  // Where we are

  go(name) {
    const to = name === null ? "#/" : address(name);
    if (location.hash === to || (name === null && !location.hash)) this.route();
    else location.hash = to;
  }

  async route() {
    if (takeKey()) return location.reload();
    const [, name, turn] = /^#\/([^/]*)(?:\/(\d+))?$/.exec(location.hash) ?? [];
    if (PHONE.matches) this.toggleSide(false);
    closePanel(false);
    await this.open(name ? decode(name) : null, turn ? Number(turn) : null);
    if (!PHONE.matches && !turn) this.composer.box.focus({ preventScroll: true });
  }

  async open(name, turn = null) {
    this.current = name;
    for (const answer of this.answers.values()) answer.view = null;
    if (this.beginning) this.beginning.view = null;
    this.headFor(name);
    this.list.mark();
    const draft = sessionStorage.getItem(draftKey(name));
    if (name === null) {
      this.talk.empty();
      this.composer.take(null, draft);
      if (this.beginning) this.show(this.beginning, this.beginning.prompt, 0);
      return this.composer.busy(this.busy);
    }
    try {
      await this.talk.load(name, turn);
    } catch (failure) {
      if (this.current !== name) return;
      if (failure.kind === "SessionNotFound") this.go(null);
      else this.talk.fault(failure, () => this.route());
      return this.failed(failure);
    }
    if (this.current !== name) return;
    this.composer.take(this.talk.session, draft);
    await this.pickUp(name);
    this.composer.busy(this.busy);
  }

  /** An answer that is under way here goes on where it is. */
  async pickUp(name) {
    const mine = this.answers.get(name);
    const last = this.talk.last;
    if (mine) {
      if (last?.turn.state === "open" && last.turn.prompt === mine.prompt) this.attach(mine, last);
      else this.show(mine, mine.prompt, mine.replace);
    } else if (last?.turn.state === "open") this.watch(name, last);
  }

  show(answer, prompt, replace) {
    this.attach(answer, this.talk.begin(prompt, replace));
  }

  attach(answer, view) {
    view.begin();
    answer.view = view;
    answer.flow();
  }

  /** Another tab's answer, or the one that this tab left when it was loaded again. */
  async watch(name, view) {
    const answer = new Answer(this, lines("watch", { session: name }));
    answer.replace = 0;
    answer.prompt = view.turn.prompt;
    this.answers.set(name, answer);
    this.attach(answer, view);
    try {
      await answer.read(() => {});
    } catch {
      // A shell is answering, or it has just ended: what is kept will tell.
      this.answers.delete(name);
      if (this.current !== name) return;
      view.show(view.turn);
      this.composer.busy(false);
      setTimeout(() => this.current === name && !this.busy && !document.hidden && this.look(), 1500);
      return;
    }
    await this.over(answer);
  }

  // Saying something

  async send({ prompt, replace = 0, ...settings }) {
    if (this.busy) return;
    const name = this.current;
    const seen = this.talk.last?.turn.number ?? 0;
    const params = { ...settings, prompt, session: name, ...(replace ? { replace, turns: seen } : {}) };
    const answer = new Answer(this, lines("turn", params));
    Object.assign(answer, { prompt, replace });
    if (name === null) this.beginning = answer;
    else this.answers.set(name, answer);
    this.show(answer, prompt, replace);
    this.composer.busy(true);
    this.draft("");
    try {
      await answer.read((found) => this.named(answer, found));
    } catch (failure) {
      return this.refused(answer, failure, settings, name);
    }
    await this.over(answer);
  }

  named(answer, name) {
    const fresh = this.beginning === answer;
    if (fresh) {
      this.beginning = null;
      this.answers.set(name, answer);
      if (this.current === null) {
        this.current = name;
        history.pushState(null, "", address(name));
        this.headFor(name);
      }
    }
    this.reload();
  }

  async over(answer) {
    const name = answer.session;
    this.answers.delete(name);
    if (answer.view && this.current === name) {
      await this.talk.settle(answer.view, answer);
      if (!this.talk.session) await this.lost(answer);
    } else if (answer.failed) toast(`${title(name)}: ${answer.failed.message}`);
    if (this.current === name) this.composer.busy(this.busy);
    this.reload();
    this.refresh();
  }

  /** A first message whose conversation was not even made: it is given back. */
  async lost(answer) {
    this.current = null;
    history.replaceState(null, "", "/");
    this.headFor(null);
    this.talk.empty();
    this.composer.restore(answer.prompt, {});
    if (answer.failed) toast(answer.failed.message, null, 10);
  }

  async refused(answer, failure, settings, name) {
    if (name === null) this.beginning = null;
    else this.answers.delete(name);
    this.failed(failure);
    if (this.current !== name) return;
    if (answer.view) this.talk.takeBack(answer.view);
    if (name === null) this.talk.empty();
    if (!answer.replace) this.composer.restore(answer.prompt, settings);
    this.composer.busy(false);
    if (failure.kind === "moved_on") await this.open(name);
  }

  async stop() {
    const name = this.current;
    if (name && this.answers.has(name)) await call("stop", { session: name }).catch((failure) => this.failed(failure));
  }

  async forkAt(turns, prompt = null) {
    try {
      if (turns === 0) {
        this.go(null);
        await this.open(null);
      } else {
        const made = await call("sessions.fork", { session: this.current, turns });
        history.pushState(null, "", address(made.name));
        await this.open(made.name);
        toast(`This is a copy: ${title(made.name)}`);
        this.reload();
      }
      if (prompt !== null) await this.send({ prompt });
    } catch (failure) {
      this.failed(failure);
    }
  }

  suggest(text) {
    this.composer.box.value = text;
    this.composer.changed();
    this.composer.box.focus();
  }

  draft(text) {
    if (text) sessionStorage.setItem(draftKey(this.current), text);
    else sessionStorage.removeItem(draftKey(this.current));
  }

  failed(failure) {
    if (!(failure instanceof Failure)) throw failure;
    if (failure.status === 401) return this.askKey();
    toast(failure.message, null, 10);
  }

  askKey() {
    if (document.querySelector("dialog")) return;
    const input = h("input", { type: "password", "aria-label": "Key", autocomplete: "off", required: true });
    const form = h("form", { onsubmit: (event) => {
      event.preventDefault();
      setKey(input.value.trim());
      location.reload();
    } }, h("p", {}, "threadrunner serve asks for a key. With --key auto it is in serve.key in ThreadRunner's folder, ~/.threadrunner."), input,
    h("button", { type: "submit", class: "main" }, "Open"));
    dialog("A key, please", form);
    input.focus();
  }

  // What is done with a whole conversation

  choices(name) {
    return [
      { icon: "pen", label: "Rename", run: () => this.rename(name) },
      { icon: "fork", label: "Copy", run: () => call("sessions.fork", { session: name }).then((made) => (this.reload(), this.go(made.name)), (failure) => this.failed(failure)) },
      { icon: "save", label: "Export as Markdown", run: () => this.export(name, "md") },
      { icon: "save", label: "Export as JSON", run: () => this.export(name, "json") },
      { icon: "trash", label: "Delete", danger: true, run: () => this.delete(name) },
    ];
  }

  rename(name) {
    const input = h("input", { "aria-label": "Name", maxlength: "128", required: true });
    input.value = name;
    const form = h("form", { onsubmit: async (event) => {
      event.preventDefault();
      const wanted = input.value.trim();
      try {
        if (wanted !== name) await call("sessions.rename", { session: name, name: wanted });
      } catch (failure) {
        problem.textContent = failure.message;
        return;
      }
      box.close();
      await this.reload();
      if (this.current === name && wanted !== name) {
        history.replaceState(null, "", address(wanted));
        await this.open(wanted);
      }
    } }, input, h("p", { class: "hint" }, "In a shell: ", h("code", {}, `threadrunner -S '${name}' "…"`)), h("button", { type: "submit", class: "main" }, "Rename"));
    const problem = h("p", { class: "problem", role: "alert" });
    form.append(problem);
    const box = dialog("Rename", form);
    input.select();
  }

  deleting = new Map();

  /** Hidden at once, gone for good when the time to think again is over, or the page is left. */
  delete(name) {
    if (this.answers.has(name)) call("stop", { session: name }).catch(() => {});
    this.list.hidden.add(name);
    this.list.draw();
    if (this.current === name) this.go(null);
    const finish = () => {
      clearTimeout(timer);
      this.deleting.delete(name);
      call("sessions.delete", { session: name }, { keepalive: true }).catch((failure) => failure.kind !== "SessionNotFound" && this.failed(failure))
        .finally(() => (this.list.hidden.delete(name), this.reload()));
    };
    const timer = setTimeout(finish, UNDO_SECONDS * 1000);
    this.deleting.set(name, finish);
    toast(`Deleted ${title(name)}`, ["Undo", () => {
      clearTimeout(timer);
      this.deleting.delete(name);
      this.list.hidden.delete(name);
      this.list.draw();
      this.go(name);
    }], UNDO_SECONDS);
  }

  async export(name, form) {
    try {
      const found = await call("sessions.show", { session: name });
      for (let { more } = found; more; ) {
        const next = await call("sessions.show", { session: name, after: found.turns.at(-1).number });
        found.turns.push(...next.turns);
        more = next.more;
      }
      const file = name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 80);
      if (form === "md") download(`${file}.md`, "text/markdown", toMarkdown(found.session, found.turns));
      else download(`${file}.json`, "application/json", toJson(found.session, found.turns));
    } catch (failure) {
      this.failed(failure);
    }
  }

  importFile() {
    const input = h("input", { type: "file", accept: ".json,application/json" });
    input.addEventListener("change", async () => {
      try {
        const [file] = input.files;
        const params = fromJson(await file.text(), file.name.replace(/\.json$/i, "").slice(0, 100) || "imported");
        const made = await call("sessions.import", params);
        await this.reload();
        this.go(made.name);
      } catch (problem) {
        toast(problem.message, null, 9);
      }
    });
    input.click();
  }

  // The head, the sides, keys

  head() {
    this.name = h("button", { type: "button", class: "title", title: "Rename", onclick: () => this.current && this.rename(this.current) });
    const more = iconButton("more", "More about this conversation", () => menu(more, this.choices(this.current), "Conversation"), { "aria-haspopup": "menu", "aria-expanded": "false" });
    this.more = more;
    document.getElementById("head").append(iconButton("side", `Show the list (${MOD} B)`, () => this.toggleSide()), this.name,
      h("span", { class: "space" }), iconButton("compose", "New conversation", () => this.go(null)), more);
  }

  headFor(name) {
    this.name.textContent = name === null ? "" : title(name);
    this.name.hidden = name === null;
    this.more.hidden = name === null;
    document.title = name === null ? "ThreadRunner" : `${title(name)} · ThreadRunner`;
  }

  toggleSide(open) {
    const { classList } = document.body;
    if (PHONE.matches) return void classList.toggle("opened", open ?? !classList.contains("opened"));
    const closed = classList.toggle("closed", open === undefined ? undefined : !open);
    localStorage.setItem("threadrunner.side", closed ? "closed" : "");
  }

  theme(name) {
    document.documentElement.dataset.theme = name;
    localStorage.setItem("threadrunner.theme", name);
  }

  nextTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const order = dark ? ["", "light", "dark"] : ["", "dark", "light"];
    const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % 3];
    this.theme(next);
    toast(next ? `Always ${next}` : "As the system", null, 2);
  }

  walk(by) {
    const { names } = this.list;
    const at = names.indexOf(this.current);
    const next = names[at < 0 ? 0 : at + by];
    if (next !== undefined) this.go(next);
  }

  key(event) {
    const typing = event.target.closest?.("input, textarea, dialog");
    const mod = event.metaKey || event.ctrlKey;
    const run = mod && !event.altKey ? this.chord(event) : event.altKey && !mod ? this.alt(event)
      : event.key === "Escape" ? this.escape() : !typing && !mod && !panelIsOpen() ? this.single(event) : null;
    if (!run) return;
    event.preventDefault();
    run();
  }

  chord({ key, shiftKey }) {
    const pressed = key.toLowerCase();
    if (pressed === "k" && !shiftKey) return () => (PHONE.matches ? document.body.classList.add("opened") : document.body.classList.remove("closed"), this.list.query.select());
    if (pressed === "b" && !shiftKey) return () => this.toggleSide();
    return pressed === "o" && shiftKey ? () => this.go(null) : null;
  }

  escape() {
    if (panelIsOpen() || document.querySelector("dialog[open]")) return null;
    if (document.body.classList.contains("opened")) return () => this.toggleSide(false);
    return this.busy ? () => this.stop() : null;
  }

  /** By where the letter is: on a Mac, Alt makes other signs of it. */
  alt({ code }) {
    const { last } = this.talk;
    return {
      ArrowUp: () => this.walk(-1), ArrowDown: () => this.walk(1), KeyJ: () => this.talk.step(1), KeyK: () => this.talk.step(-1),
      KeyM: () => this.composer.pickModel(), KeyE: () => this.talk.editLast(), KeyR: () => last && !this.busy && this.talk.again(last),
      KeyC: () => last?.element.querySelector(".answer .acts button")?.click(),
    }[code];
  }

  /** What is typed into nothing goes into the message box. */
  single({ key, target }) {
    if (key === "?") return help;
    if (key === "/") return () => this.composer.box.focus();
    if (key.length === 1 && key !== " " && !target.closest("button, a, summary, [tabindex='0']")) this.composer.box.focus();
    return null;
  }
}

const draftKey = (name) => `threadrunner.draft.${name ?? ""}`;

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const app = new App();
app.start();
