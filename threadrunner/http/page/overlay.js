// What lies over the page: menus, panels, dialogs, and words that go by themselves.

import { h, icon, iconButton } from "./dom.js";

let open = null; // the menu or panel that is there

export function closePanel(refocus = true) {
  if (!open) return;
  const { panel, anchor } = open;
  open = null;
  panel.remove();
  anchor.setAttribute("aria-expanded", "false");
  if (refocus && anchor.isConnected) anchor.focus();
}

export const panelIsOpen = () => open !== null;

document.addEventListener("pointerdown", (event) => {
  if (open && !open.panel.contains(event.target) && !open.anchor.contains(event.target)) closePanel(false);
});
window.addEventListener("resize", () => open && place(open.panel, open.anchor));

function place(panel, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = panel;
  const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
  const below = at.bottom + 6;
  const top = below + height < innerHeight - 8 ? below : Math.max(8, at.top - height - 6);
  panel.style.left = `${left}px`;
  panel.style.top = `${top}px`;
}

/** A panel at a button; the button closes it too. */
export function panel(anchor, content, label, role = "dialog") {
  if (open?.anchor === anchor) {
    closePanel();
    return null;
  }
  closePanel(false);
  const made = h("div", { class: "panel", role, "aria-label": label }, content);
  made.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      closePanel();
    } else if (event.key === "Tab" && role === "menu") closePanel();
  });
  document.body.append(made);
  anchor.setAttribute("aria-expanded", "true");
  open = { panel: made, anchor };
  place(made, anchor);
  const first = made.querySelector("[aria-checked=true], [aria-selected=true], input, textarea, button:not(:disabled)");
  first?.focus({ preventScroll: true });
  first?.scrollIntoView({ block: "nearest" });
  return made;
}

/** Arrow keys, Home, End and first letters among the items of a menu. */
export function roving(element, selector) {
  element.addEventListener("keydown", (event) => {
    const items = [...element.querySelectorAll(selector)].filter((item) => !item.disabled && item.offsetParent);
    const at = items.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at < 0 ? -1 : at - 1, Home: 0, End: -1 }[event.key];
    if (next === undefined || !items.length) return;
    event.preventDefault();
    items.at(next % items.length).focus();
  });
}

export function menu(anchor, items, label) {
  const list = h("div", { class: "menu" }, items.filter(Boolean).map((item) =>
    h("button", {
      type: "button", role: "menuitem", class: item.danger ? "danger" : null, disabled: item.disabled,
      onclick: () => {
        closePanel();
        item.run();
      },
    }, icon(item.icon), h("span", {}, item.label, item.about && h("small", {}, item.about)))));
  roving(list, "button");
  return panel(anchor, list, label, "menu");
}

/** Words at the foot of the page; `action` is a button's label and what it does. */
export function toast(text, action = null, seconds = 6) {
  for (const other of document.querySelectorAll(".toast")) if (other.textContent === text) other.remove();
  const made = h("div", { class: "toast" }, h("span", {}, text));
  const end = () => {
    clearTimeout(timer);
    made.remove();
  };
  const timer = setTimeout(end, seconds * 1000);
  if (action) made.append(h("button", { type: "button", onclick: () => (end(), action[1]()) }, action[0]));
  made.append(iconButton("close", "Dismiss", end));
  document.getElementById("toasts").append(made);
  while (made.parentElement.children.length > 3) made.parentElement.firstChild.remove();
  return end;
}

export function dialog(title, ...content) {
  const made = h("dialog", { "aria-label": title },
    h("header", {}, h("h2", {}, title), iconButton("close", "Close", () => made.close())), ...content);
  made.addEventListener("close", () => made.remove());
  made.addEventListener("click", (event) => event.target === made && made.close());
  document.body.append(made);
  made.showModal();
  return made;
}

const APPLE = /Mac|iP(?:hone|ad)/.test(navigator.platform);
export const MOD = APPLE ? "⌘" : "Ctrl";

const ALT = APPLE ? "⌥" : "Alt";

const KEYS = [
  ["Write", [["Enter", "send"], ["Shift Enter", "new line"], ["↑", "edit your last message, from an empty box"], ["Esc", "stop the answer"]]],
  ["Go", [[`${MOD} K`, "search all conversations"], [`${MOD} Shift O`, "new conversation"], [`${ALT} ↑ ↓`, "previous, next conversation"], [`${MOD} B`, "show or hide the list"], ["/", "to the message box"]]],
  ["Act", [[`${ALT} J K`, "next, previous turn"], [`${ALT} E`, "edit your last message"], [`${ALT} R`, "answer again"], [`${ALT} C`, "copy the last answer"], [`${ALT} M`, "choose a model"], ["?", "these keys"]]],
];

export function help() {
  if (document.querySelector("dialog")) return;
  dialog("Keys", h("div", { class: "keys" }, KEYS.map(([name, rows]) => h("section", {}, h("h3", {}, name),
    h("dl", {}, rows.map(([keys, what]) => h("div", {}, h("dt", {}, keys.split(/ +/).map((key) => h("kbd", {}, key))), h("dd", {}, what))))))),
  h("p", { class: "hint" }, "The same conversations are in your terminal: ", h("code", {}, "threadrunner chat")));
}
