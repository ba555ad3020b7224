// What is done with a whole conversation: rename, copy, export, import, delete.

import { call } from "./api.js";
import { download, h } from "./dom.js";
import { title } from "./names.js";
import { dialog, toast } from "./overlay.js";
import { fromJson, toJson, toMarkdown } from "./transcript.js";

const UNDO_SECONDS = 7;

export function choices(app, name) {
  return [
    { icon: "pen", label: "Rename", run: () => rename(app, name) },
    { icon: "fork", label: "Copy", run: () => call("sessions.fork", { session: name }).then((made) => (app.reload(), app.go(made.name)), (failure) => app.failed(failure)) },
    { icon: "save", label: "Export as Markdown", run: () => exportAs(app, name, "md") },
    { icon: "save", label: "Export as JSON", run: () => exportAs(app, name, "json") },
    { icon: "trash", label: "Delete", danger: true, run: () => deleteSoon(app, name) },
  ];
}

export function rename(app, name) {
  const input = h("input", { "aria-label": "Name", maxlength: "128", required: true });
  input.value = name;
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const wanted = input.value.trim();
    if (wanted === name) return box.close();
    app.renaming.add(name);
    try {
      await call("sessions.rename", { session: name, name: wanted });
    } catch (failure) {
      app.renaming.delete(name);
      problem.textContent = failure.message;
      return;
    }
    box.close();
    app.renamed(name, wanted);
    app.renaming.delete(name);
    app.reload();
  } }, input, h("p", { class: "hint" }, "In a shell: ", h("code", {}, `threadrunner -S '${name}' "…"`)), h("button", { type: "submit", class: "main" }, "Rename"));
  const problem = h("p", { class: "problem", role: "alert" });
  form.append(problem);
  const box = dialog("Rename", form);
  input.select();
}

/** Hidden at once, gone for good when the time to think again is over, or the page is left. */
function deleteSoon(app, name) {
  if (app.answers.has(name)) call("stop", { session: name }).catch(() => {});
  app.list.hidden.add(name);
  app.list.draw();
  if (app.current === name) app.go(null);
  const finish = () => {
    clearTimeout(timer);
    app.deleting.delete(name);
    call("sessions.delete", { session: name }, { keepalive: true })
      .then(() => app.current === name && app.go(null)) // it was opened once more meanwhile
      .catch((failure) => failure.kind !== "SessionNotFound" && app.failed(failure))
      .finally(() => (app.list.hidden.delete(name), app.reload()));
  };
  const timer = setTimeout(finish, UNDO_SECONDS * 1000);
  app.deleting.set(name, finish);
  toast(`Deleted ${title(name)}`, ["Undo", () => {
    clearTimeout(timer);
    app.deleting.delete(name);
    app.list.hidden.delete(name);
    app.list.draw();
    app.go(name);
  }], UNDO_SECONDS);
}

async function exportAs(app, name, form) {
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
    app.failed(failure);
  }
}

export function importFile(app) {
  const input = h("input", { type: "file", accept: ".json,application/json" });
  input.addEventListener("change", async () => {
    try {
      const [file] = input.files;
      const params = fromJson(await file.text(), file.name.replace(/\.json$/i, "").slice(0, 100) || "imported");
      const made = await call("sessions.import", params);
      await app.reload();
      app.go(made.name);
    } catch (problem) {
      toast(problem.message, null, 9);
    }
  });
  input.click();
}
