// Puts the page together: which conversation is open, what is said to whom, keys.

import { call, Failure, lines, setKey, TAB, takeKey } from "./api.js";
import { Composer } from "./composer.js";
import { h, iconButton } from "./dom.js";
import { key } from "./keys.js";
import { List } from "./list.js";
import { address, decode, title } from "./names.js";
import { closePanel, dialog, menu, MOD, toast } from "./overlay.js";
import { Speaker } from "./speaker.js";
import { Talk } from "./talk.js";
import { choices, rename } from "./whole.js";

const PHONE = matchMedia("(max-width: 760px)");

class App extends Speaker {
  current = null; // the open conversation's name
  models = [];
  usual = ""; // the model where none is chosen
  modes = [];
  status = null;
  daemon = null;
  deleting = new Map(); // what ends the time to think again, by conversation
  renaming = new Set(); // by us just now: who does not find them under their old names has not lost them

  constructor() {
    super();
    this.theme(localStorage.getItem("threadrunner.theme") ?? "");
    this.list = new List(this, document.getElementById("side"));
    this.composer = new Composer(this, document.getElementById("foot"));
    this.talk = new Talk(this);
    this.head();
    document.getElementById("scrim").addEventListener("click", () => this.toggleSide(false));
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (event) => key(this, event));
    addEventListener("pagehide", () => this.deleting.forEach((finish) => finish()));
    document.addEventListener("visibilitychange", () => this.visible());
    if (localStorage.getItem("threadrunner.side") === "closed" && !PHONE.matches) document.body.classList.add("closed");
  }

  async start() {
    takeKey();
    await Promise.all([this.route(), this.refresh(), this.reload()]);
    this.visible();
  }

  // What there is

  /** `passive`: because the daemon has said something, so it is not to be started for this. */
  async refresh(passive = false) {
    try {
      const state = await call("state", { passive });
      Object.assign(this, { models: state.models, modes: state.modes, status: state.status, live: new Set(state.live) });
      const { backend, model } = state.status;
      this.usual = backend === "llama" ? model : backend;
      if (backend !== "llama") this.models = [{ name: backend, present: true, default: true, description: "a backend without a model" }];
      this.composer.labels();
      this.list.daemon(this.status, this.daemon);
      this.talk.used();
    } catch (failure) {
      if (!passive) this.failed(failure);
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
    this.refreshing = setTimeout(() => this.refresh(true), 150);
  }

  /** Another tab has changed something. */
  elsewhere({ session, change, name }) {
    if (change === "sessions.rename") this.renamed(session, name);
    else if (session === this.current && change === "sessions.delete") this.deleted(session);
    else if (session === this.current && !this.busy && change !== "ended") this.look();
    this.reload();
  }

  /** Look again at the open conversation, without moving it. */
  async look() {
    const name = this.current;
    const { scrollTop } = this.talk.scroll;
    const { sticks } = this.talk;
    try {
      const { session, turns } = await call("sessions.show", { session: name, last: 1 });
      const last = this.talk.last?.turn;
      if (this.current !== name || this.busy) return; // an answer that began meanwhile is shown as it comes
      if (session.turns === (last?.number ?? 0) && turns[0]?.began === last?.began && turns[0]?.state === last?.state) return;
      await this.open(name);
      if (!sticks) this.talk.scroll.scrollTop = scrollTop;
    } catch (failure) {
      if (failure.kind !== "SessionNotFound" || this.current !== name || this.renaming.has(name)) return;
      this.go(null);
      this.failed(failure);
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
      const gone = failure.kind === "SessionNotFound";
      if (this.current !== name || (gone && this.renaming.has(name))) return;
      if (gone) this.go(null);
      else this.talk.fault(failure, () => this.route());
      return this.failed(failure);
    }
    if (this.current !== name) return;
    this.composer.take(this.talk.session, draft);
    await this.pickUp(name);
    this.composer.busy(this.busy);
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

  // The head, the sides, keys

  head() {
    this.name = h("button", { type: "button", class: "title", title: "Rename", onclick: () => this.current && rename(this, this.current) });
    const more = iconButton("more", "More about this conversation", () => menu(more, choices(this, this.current), "Conversation"), { "aria-haspopup": "menu", "aria-expanded": "false" });
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
}

const draftKey = (name) => `threadrunner.draft.${name ?? ""}`;

new App().start();
