// The list of conversations, and the search through all of them.

import { call } from "./api.js";
import { h, icon, iconButton, mark } from "./dom.js";
import { address, shortModel, title } from "./names.js";
import { MOD, help, menu } from "./overlay.js";
import { choices, importFile } from "./whole.js";

const SHOWN = 200; // until more are asked for

export class List {
  constructor(app, root) {
    this.app = app;
    this.sessions = [];
    this.total = 0;
    this.limit = SHOWN;
    this.hidden = new Set(); // being deleted
    this.query = h("input", {
      type: "search", id: "query", placeholder: "Search", "aria-label": "Search all conversations", autocomplete: "off",
      spellcheck: "false", oninput: () => this.soon(), onkeydown: (event) => this.key(event),
    });
    this.items = h("div", { id: "items" });
    this.foot = h("div", { class: "daemon" });
    root.append(
      h("div", { class: "brand" }, h("a", { href: "#/", "aria-label": "ThreadRunner, new conversation" }, mark(), h("b", {}, "ThreadRunner")),
        iconButton("side", `Hide the list (${MOD} B)`, () => app.toggleSide())),
      h("button", { type: "button", class: "new", onclick: () => app.go(null) }, icon("compose"), h("span", {}, "New conversation"), h("kbd", {}, `${MOD} Shift O`)),
      h("label", { class: "search" }, icon("search"), this.query, h("kbd", {}, `${MOD} K`)),
      this.items,
      h("div", { class: "base" }, this.foot,
        iconButton("open", "Import a conversation", () => importFile(app)),
        iconButton("theme", "Light, dark, or as the system", () => app.nextTheme()),
        iconButton("help", "Keys (?)", help)));
    this.items.addEventListener("keydown", (event) => this.walk(event));
  }

  async load() {
    const found = await call("sessions.list", { limit: this.limit });
    Object.assign(this, found);
    if (!this.query.value.trim()) this.draw();
  }

  get names() {
    return this.sessions.map(({ name }) => name).filter((name) => !this.hidden.has(name));
  }

  draw() {
    const groups = new Map();
    for (const session of this.sessions) {
      if (this.hidden.has(session.name)) continue;
      const group = age(session.used);
      groups.set(group, [...(groups.get(group) ?? []), session]);
    }
    const made = [...groups].map(([group, sessions]) => h("section", {}, h("h2", {}, group), h("ul", {}, sessions.map((session) => this.item(session)))));
    if (!made.length) made.push(h("p", { class: "none" }, "What you talk about will be listed here, and in threadrunner chat."));
    if (this.total > this.sessions.length) {
      made.push(h("button", { type: "button", class: "older", onclick: () => ((this.limit = Math.min(10_000, this.limit * 5)), this.load()) }, `${this.total - this.sessions.length} older ones`));
    }
    this.items.replaceChildren(...made);
  }

  item({ name }) {
    const current = name === this.app.current;
    const more = iconButton("more", `More about ${title(name)}`, () => menu(more, choices(this.app, name), "Conversation"), { "aria-haspopup": "menu", "aria-expanded": "false" });
    return h("li", { class: [current && "current", this.app.answers.has(name) && "running"].filter(Boolean).join(" ") },
      h("a", { href: address(name), title: name, "aria-current": current ? "page" : null }, title(name)), more);
  }

  mark() {
    if (!this.query.value.trim()) this.draw();
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.search(), 120);
  }

  async search() {
    const query = this.query.value.trim();
    if (!query) return this.draw();
    const words = /\w\*?$/u.test(query) && !query.endsWith("*") ? `${query}*` : query;
    let hits = [];
    try {
      ({ hits } = await call("sessions.search", { query: words, limit: 50 }));
    } catch (failure) {
      if (failure.status !== 400) return this.app.failed(failure); // 400: no word in it yet
    }
    if (query !== this.query.value.trim()) return;
    const named = this.names.filter((name) => title(name).toLowerCase().includes(query.toLowerCase())).slice(0, 8);
    const made = [
      named.length && h("section", {}, h("h2", {}, "Names"), h("ul", {}, named.map((name) => this.item({ name })))),
      hits.length && h("section", {}, h("h2", {}, "In conversations"), h("ul", {}, hits.map((hit) => this.hit(hit)))),
    ].filter(Boolean);
    if (!made.length) made.push(h("p", { class: "none" }, "Nothing has all of these words in one turn. wor* finds words that begin so."));
    this.items.replaceChildren(...made);
  }

  hit({ session, turn, snippet }) {
    const parts = snippet.replace(/\s+/g, " ").split(/\[([^[\]]*)\]/);
    return h("li", { class: "hit" }, h("a", { href: `${address(session)}/${turn}` }, h("b", {}, title(session)),
      h("span", {}, parts.map((part, i) => (i % 2 ? h("mark", {}, part) : part)))));
  }

  key(event) {
    if (event.key === "Escape" && this.query.value) {
      event.stopPropagation();
      this.query.value = "";
      this.draw();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      const first = this.items.querySelector("a");
      event.key === "Enter" ? first?.click() : first?.focus();
    }
  }

  walk(event) {
    const links = [...this.items.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || at < 0) return;
    event.preventDefault();
    (at + step < 0 ? this.query : links[Math.min(at + step, links.length - 1)]).focus();
  }

  daemon(status, state) {
    const loaded = (status?.models ?? []).filter((model) => model.state !== "failed");
    const gone = state === "gone";
    const names = loaded.map((model) => `${shortModel(model.name)}${model.state === "ready" ? "" : `: ${model.state}`}`);
    const text = gone ? "The daemon has ended; your next message starts it" : names.join(", ") || "No model is loaded";
    this.foot.classList.toggle("gone", gone);
    this.foot.replaceChildren(h("span", { class: `dot ${loaded[0]?.state ?? ""}` }), h("span", { title: text }, text));
  }
}

function age(seconds) {
  const today = new Date().setHours(0, 0, 0, 0) / 1000;
  const days = (today - seconds) / 86400;
  if (days <= 0) return "Today";
  if (days <= 1) return "Yesterday";
  if (days <= 7) return "This week";
  if (days <= 30) return "This month";
  return new Date(seconds * 1000).toLocaleDateString("en", { month: "long", year: "numeric" });
}
