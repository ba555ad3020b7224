// The message box: text, files, and what the next answer is made with.

import { bytes, h, icon, iconButton, number, svg } from "./dom.js";
import { ALL_LIMIT, readFile, splitFiles, withFiles } from "./files.js";
import { shortModel } from "./names.js";
import { isPicture, readPicture } from "./pictures.js";
import { closePanel, menu, panel, roving, toast } from "./overlay.js";

const TOUCH = matchMedia("(pointer: coarse)").matches;

export class Composer {
  constructor(app, root) {
    this.app = app;
    this.files = [];
    this.settings = {}; // what the next turn changes; the conversation remembers it
    this.known = {}; // what it remembers
    this.box = h("textarea", {
      id: "prompt", rows: "1", placeholder: "Ask anything", "aria-label": "Message", enterkeyhint: TOUCH ? "enter" : "send",
      oninput: () => this.changed(), onkeydown: (event) => this.key(event), onpaste: (event) => this.paste(event),
    });
    this.chips = h("div", { class: "chips", hidden: true });
    this.input = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Attach text files or pictures", onchange: () => (this.attach(this.input.files), (this.input.value = "")) });
    this.model = h("button", { type: "button", class: "pick model", "aria-haspopup": "listbox", "aria-expanded": "false", onclick: () => this.pickModel() });
    this.mode = h("button", { type: "button", class: "pick", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => this.pickMode() });
    this.tune = iconButton("tune", "How it answers: system prompt, temperature, memory", () => this.openSettings(), { "aria-haspopup": "dialog", "aria-expanded": "false" });
    this.meter = h("span", { class: "meter", role: "img" });
    this.send = h("button", { type: "submit", class: "send" });
    this.form = h("form", { id: "composer", onsubmit: (event) => (event.preventDefault(), this.submit()) },
      this.chips, this.box,
      h("div", { class: "tools" }, iconButton("clip", "Attach text files or pictures", () => this.input.click()), this.model, this.mode, this.tune,
        h("span", { class: "space" }), this.meter, this.send), this.input);
    this.where = h("b", {});
    root.append(this.form, h("p", { class: "hint" }, this.where, " ", h("span", {}, "A model can be wrong.")));
    this.busy(false);
    this.watchDrops();
  }

  /** What a conversation remembers. */
  learn(session) {
    this.known = session ? { model: session.model, system: session.system, mode: session.mode, ...session.params } : {};
    this.labels();
  }

  /** A conversation's own settings, and what was typed for it before. */
  take(session, draft) {
    if (!session) delete this.settings.system;
    else this.settings = {};
    this.box.value = draft ?? "";
    this.files = [];
    this.showFiles();
    this.changed();
    this.learn(session);
  }

  setting(name) {
    return name in this.settings ? this.settings[name] : this.known[name];
  }

  changed() {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, innerHeight * 0.4)}px`;
    this.app.draft(this.box.value);
    this.busy(this.running);
  }

  busy(running) {
    this.running = running;
    const [sign, label] = running ? ["stop", "Stop (Esc)"] : ["up", "Send"];
    if (this.sign !== sign) this.send.replaceChildren(icon(sign));
    this.sign = sign;
    this.send.title = label;
    this.send.setAttribute("aria-label", label);
    this.send.disabled = !running && !this.box.value.trim() && !this.files.length;
    this.form.classList.toggle("running", running);
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !TOUCH) {
      event.preventDefault();
      if (!this.running) this.submit();
    } else if (event.key === "ArrowUp" && !this.box.value) {
      if (this.app.talk.editLast()) event.preventDefault();
    }
  }

  submit() {
    if (this.running) return this.app.stop();
    const pictures = this.files.filter(({ picture }) => picture);
    const prompt = withFiles(this.box.value.trim(), this.files.filter(({ picture }) => !picture));
    if (!prompt && !pictures.length) return;
    const sent = this.settings;
    this.settings = {};
    this.known = { ...this.known, ...sent };
    this.box.value = "";
    this.files = [];
    this.showFiles();
    this.changed();
    this.app.send({ prompt, pictures, ...sent });
  }

  /** After a message that could not be sent: nothing that was typed is lost. */
  restore(prompt, settings, pictures = []) {
    this.settings = { ...settings, ...this.settings };
    if (!this.box.value && !this.files.length) {
      const { text, files } = splitFiles(prompt);
      this.box.value = text;
      this.files = [...files, ...pictures];
      this.showFiles();
    }
    this.changed();
  }

  // Files

  async attach(files) {
    for (const file of files) {
      try {
        const read = isPicture(file) ? await readPicture(file, this.files.filter(({ picture }) => picture)) : await readFile(file);
        const all = [...this.files, read].reduce((sum, { text = "" }) => sum + text.length, 0);
        if (all > ALL_LIMIT) throw new Error("All files of a message may have 4 MiB together; send these first.");
        this.files = [...this.files.filter(({ name }) => name !== read.name), read];
      } catch (error) {
        toast(error.message, null, 9);
      }
    }
    this.showFiles();
    this.busy(this.running);
    this.box.focus();
  }

  showFiles() {
    this.chips.hidden = !this.files.length;
    this.chips.replaceChildren(...this.files.map((file) => h("span", { class: "chip" }, file.thumb ?? icon("file"), h("b", {}, file.name), h("small", {}, bytes(file.size ?? file.text.length)),
      iconButton("close", `Remove ${file.name}`, () => {
        this.files = this.files.filter((other) => other !== file);
        this.showFiles();
        this.busy(this.running);
      }))));
  }

  paste(event) {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    this.attach(event.clipboardData.files);
  }

  watchDrops() {
    const has = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const shown = (on) => document.body.classList.toggle("dropping", on);
    addEventListener("dragover", (event) => has(event) && (event.preventDefault(), shown(true)));
    addEventListener("dragleave", (event) => event.relatedTarget || shown(false));
    addEventListener("drop", (event) => {
      shown(false);
      if (!has(event)) return;
      event.preventDefault();
      this.attach(event.dataTransfer.files);
    });
  }

  // What answers

  get modelName() {
    return this.setting("model") ?? this.app.usual;
  }

  labels() {
    const name = this.modelName;
    const state = this.app.status?.models.find((model) => model.name === name)?.state;
    this.model.replaceChildren(h("span", { class: `dot ${state ?? ""}` }), h("span", {}, shortModel(name) || "Model"), icon("turn"));
    this.model.title = this.app.status ? `Model: ${name}, ${state === "ready" ? "loaded" : state ?? "not loaded"} (Alt M)` : "Model";
    const host = this.app.models.find((model) => model.name === name)?.host;
    this.where.textContent = host ? `What you ask goes to ${host}.` : "Everything stays on this machine.";
    this.where.className = host ? "away" : "";
    const mode = this.setting("mode");
    this.mode.hidden = !this.app.modes.length;
    this.mode.replaceChildren(h("span", {}, mode || "Mode"), icon("turn"));
    this.mode.title = "Mode: a preset of system prompt and sampling";
    this.tune.classList.toggle("on", ["system", "temperature", "memory", "reasoning"].some((each) => this.setting(each)));
  }

  context() {
    const name = this.modelName;
    const loaded = this.app.status?.models.find((model) => model.name === name)?.context;
    return loaded || this.app.models.find((model) => model.name === name)?.context || 0;
  }

  /** How much of the context the conversation has filled. */
  fill(used) {
    const all = this.context();
    this.meter.hidden = !used || !all;
    if (this.meter.hidden) return;
    const part = Math.min(1, used / all);
    const text = `${number(used)} of ${number(all)} tokens of context`;
    this.meter.title = `${text}. When it is full, the oldest turns are no longer shown to the model.`;
    this.meter.setAttribute("aria-label", text);
    this.meter.className = `meter${part > 0.85 ? " full" : ""}`;
    const ring = (kind, length) => svg("circle", { cx: 10, cy: 10, r: 8, class: kind, "stroke-dasharray": `${length * 50.27} 60`, transform: "rotate(-90 10 10)" });
    this.meter.replaceChildren(svg("svg", { viewBox: "0 0 20 20" }, ring("all", 1), ring("used", part)), h("span", {}, `${Math.round(part * 100)} %`));
  }

  pickModel() {
    const list = h("div", { class: "models", role: "listbox", "aria-label": "Models" });
    const filter = h("input", { type: "search", placeholder: "Choose a model", "aria-label": "Filter the models", autocomplete: "off" });
    const draw = () => {
      const words = filter.value.toLowerCase();
      const found = this.app.models.filter((model) => !model.problem && model.chat_template !== false && model.name.toLowerCase().includes(words));
      found.sort((a, b) => b.present - a.present || b.loaded - a.loaded || (b.last_used ?? 0) - (a.last_used ?? 0));
      list.replaceChildren(...found.map((model) => this.modelRow(model)));
      if (!found.length) list.append(h("p", { class: "none" }, this.app.status ? "None is called so." : "Looking for models…"));
    };
    filter.addEventListener("input", draw);
    draw();
    const shown = h("div", {}, filter, list, h("p", { class: "hint" }, "More: ", h("code", {}, "threadrunner models pull NAME")));
    filter.addEventListener("keydown", (event) => event.key === "Enter" && list.querySelector("button:not(:disabled)")?.click());
    roving(shown, "input, .models button");
    this.app.refresh().then(draw);
    panel(this.model, shown, "Model");
  }

  modelRow(model) {
    const chosen = model.name === this.modelName;
    const state = model.loaded ? "loaded" : model.present ? "" : "not fetched";
    const about = [model.parameters && `${amount(model.parameters)} parameters`, model.quantization, model.context && `${number(model.context)} tokens`, model.keeper].filter(Boolean);
    return h("button", {
      type: "button", role: "option", "aria-selected": String(chosen), disabled: !model.present && !model.default,
      title: model.present ? model.description : `threadrunner models pull ${model.name}`,
      onclick: () => this.choose("model", model.name),
    }, h("span", { class: `dot ${model.loaded ? "ready" : ""}` }), h("span", { class: "name" }, h("b", {}, shortModel(model.name)), h("small", {}, about.join(" · ") || model.description)),
    h("span", { class: "size" }, model.size_bytes ? bytes(model.size_bytes) : "", state && h("small", {}, state)), chosen && icon("check"));
  }

  choose(name, value) {
    if (value === this.known[name]) delete this.settings[name];
    else this.settings[name] = value;
    closePanel(false);
    this.labels();
    this.box.focus();
  }

  pickMode() {
    const modes = this.app.modes.filter((mode) => !mode.problem);
    menu(this.mode, [
      { icon: "close", label: "No mode", run: () => this.choose("mode", this.known.mode ? "" : this.known.mode) },
      ...modes.map((mode) => ({ icon: mode.name === this.setting("mode") ? "check" : "tune", label: mode.name, about: mode.description || "from config.toml", run: () => this.choose("mode", mode.name) })),
    ], "Mode");
  }

  openSettings() {
    const system = h("textarea", { rows: "4", placeholder: "You are …", oninput: () => set("system", system.value) });
    system.value = this.setting("system") ?? "";
    const heat = this.setting("temperature");
    const shown = h("output", {}, heat ?? "as the model says");
    const slider = h("input", { type: "range", min: "0", max: "1.5", step: "0.1", value: String(heat ?? 0.8), oninput: () => {
      set("temperature", Number(slider.value));
      shown.textContent = slider.value;
    } });
    const set = (name, value) => {
      this.settings[name] = value;
      this.labels();
    };
    const tick = (name, label, about, on, off) => {
      const box = h("input", { type: "checkbox", checked: this.setting(name) === on, onchange: () => set(name, box.checked ? on : off) });
      return h("label", { class: "tick" }, box, h("span", {}, label, h("small", {}, about)));
    };
    panel(this.tune, h("div", { class: "settings" },
      h("label", {}, h("span", {}, "System prompt"), system),
      h("label", {}, h("span", {}, "Temperature ", shown), slider),
      tick("memory", "Remember", "put notes and earlier turns that fit before the message", true, false),
      tick("reasoning", "No thinking", "answer at once, where the model can", "off", "split"),
      h("p", { class: "hint" }, "Holds from the next message on; the conversation remembers it.")), "How it answers");
  }
}

function amount(count) {
  return count >= 1e9 ? `${(count / 1e9).toFixed(1)} B` : `${Math.round(count / 1e6)} M`;
}
