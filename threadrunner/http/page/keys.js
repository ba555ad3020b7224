// Keys for the whole page; those of a box or a list are where that is.

import { help, panelIsOpen } from "./overlay.js";

const PHONE = matchMedia("(max-width: 760px)");

export function key(app, event) {
  const typing = event.target.closest?.("input, textarea, dialog");
  const mod = event.metaKey || event.ctrlKey;
  const run = mod && !event.altKey ? chord(app, event) : event.altKey && !mod ? alt(app, event)
    : event.key === "Escape" ? escape(app) : !typing && !mod && !panelIsOpen() ? single(app, event) : null;
  if (!run) return;
  event.preventDefault();
  run();
}

function chord(app, { key, shiftKey }) {
  const pressed = key.toLowerCase();
  if (pressed === "k" && !shiftKey) return () => (PHONE.matches ? document.body.classList.add("opened") : document.body.classList.remove("closed"), app.list.query.select());
  if (pressed === "b" && !shiftKey) return () => app.toggleSide();
  return pressed === "o" && shiftKey ? () => app.go(null) : null;
}

function escape(app) {
  if (panelIsOpen() || document.querySelector("dialog[open]")) return null;
  if (document.body.classList.contains("opened")) return () => app.toggleSide(false);
  return app.busy ? () => app.stop() : null;
}

/** By where the letter is: on a Mac, Alt makes other signs of it. */
function alt(app, { code }) {
  const { last } = app.talk;
  return {
    ArrowUp: () => app.walk(-1), ArrowDown: () => app.walk(1), KeyJ: () => app.talk.step(1), KeyK: () => app.talk.step(-1),
    KeyM: () => app.composer.pickModel(), KeyE: () => app.talk.editLast(), KeyR: () => last && !app.busy && app.talk.again(last),
    KeyC: () => last?.element.querySelector(".answer .acts button")?.click(),
  }[code];
}

/** What is typed into nothing goes into the message box. */
function single(app, { key, target }) {
  if (key === "?") return help;
  if (key === "/") return () => app.composer.box.focus();
  if (key.length === 1 && key !== " " && !target.closest("button, a, summary, [tabindex='0']")) app.composer.box.focus();
  return null;
}
