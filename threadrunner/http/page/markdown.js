// Markdown as elements. What a model writes is only ever text of nodes: no HTML is read.

import { blocks, FENCE } from "./blocks.js";
import { h, copyButton } from "./dom.js";
import { highlightLine } from "./highlight.js";
import { inline } from "./inline.js";

function element(block) {
  switch (block.type) {
    case "heading": return inline(h(`h${Math.min(6, block.level + 1)}`), block.text);
    case "rule": return h("hr");
    case "code": return code(block);
    case "maths": return h("pre", { class: "maths" }, block.lines.join("\n"));
    case "quote": return h("blockquote", {}, block.blocks.map(element));
    case "list": return list(block);
    case "table": return table(block);
    default: return inline(h("p"), block.text);
  }
}

function list(block) {
  const made = h(block.ordered ? "ol" : "ul", block.ordered && block.start !== 1 ? { start: block.start } : {});
  for (const item of block.items) {
    const li = h("li", { class: item.isTask ? "task" : null });
    if (item.isTask) li.append(h("span", { class: item.task ? "box ticked" : "box", role: "img", "aria-label": item.task ? "done" : "to do" }));
    for (const [i, inner] of item.blocks.entries()) {
      if (inner.type === "text" && !block.loose && !i) inline(li, inner.text);
      else li.append(element(inner));
    }
    made.append(li);
  }
  return made;
}

function table(block) {
  const side = (i) => ({ class: { l: "left", r: "right", lr: "centre" }[block.align[i]] });
  const head = h("tr", {}, block.head.map((text, i) => inline(h("th", { scope: "col", ...side(i) }), text)));
  const rows = block.rows.map((row) => h("tr", {}, block.head.map((_, i) => inline(h("td", side(i)), row[i] ?? ""))));
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function code(block) {
  const view = new CodeView(block.language);
  view.update(block.lines, block.closed);
  return view.element;
}

/** A block of code that may grow: each finished line is coloured once. */
class CodeView {
  constructor(language) {
    this.language = language;
    this.lines = [];
    this.state = "";
    this.done = 0;
    this.last = null;
    this.code = h("code");
    this.element = h("figure", { class: "code" },
      h("figcaption", {}, h("span", {}, language || "text"), copyButton("Copy code", () => this.lines.join("\n"))),
      h("pre", { tabindex: "0" }, this.code));
  }

  update(lines, closed) {
    this.lines = lines;
    this.last?.remove();
    const whole = closed ? lines.length : lines.length - 1;
    for (; this.done < whole; this.done++) {
      const [part, state] = highlightLine(lines[this.done], this.language, this.state);
      this.state = state;
      this.code.append(part, this.done + 1 < lines.length || !closed ? "\n" : "");
    }
    this.last = closed || !lines.length ? null : h("span", {}, lines.at(-1));
    if (this.last) this.code.append(this.last);
  }
}

/** Markdown that grows: a block is final once another one follows before the last two lines, for a table is known by its
 * second line, and the last one may not be all there; only what is behind it is
 * made again. */
export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.from = 0; // of what is not final, in characters
    this.tail = []; // its nodes
    this.code = null; // its CodeView, where it is code that grows
  }

  update(source) {
    const raw = source.slice(this.from).split("\n");
    const lines = raw.map((line) => line.replaceAll("\t", "    "));
    const found = blocks(lines);
    const only = found.length === 1 && found[0].type === "code" ? found[0] : null;
    if (only && this.code?.language === only.language) this.code.update(raw_code(only, raw, lines), only.closed);
    else {
      this.tail.forEach((node) => node.remove());
      const made = found.map((block) => (block.type === "code" ? this.codeView(block, raw, lines) : element(block)));
      this.element.append(...made);
      const last = Math.max(0, found.findLastIndex((block) => block.from < lines.length - 2));
      this.tail = made.slice(last);
      for (let i = 0; i < (found[last]?.from ?? 0); i++) this.from += raw[i].length + 1;
      this.code = found.length - last === 1 && found[last].type === "code" ? this.made : null;
    }
    if (found.at(-1)?.closed) this.code = null;
  }

  codeView(block, raw, lines) {
    this.made = new CodeView(block.language);
    this.made.update(raw_code(block, raw, lines), block.closed);
    return this.made.element;
  }
}

/** The lines of a block of code with their tabs. */
function raw_code(block, raw, lines) {
  const first = block.from + (FENCE.test(lines[block.from]) ? 1 : 0);
  return block.lines.map((line, i) => (raw[first + i]?.includes("\t") && !/^ /.test(lines[block.from]) ? raw[first + i] : line));
}

export function render(target, source) {
  new MarkdownView(target).update(source);
  return target;
}
