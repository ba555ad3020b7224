// Markdown as elements. What a model writes is only ever text of nodes: no HTML is read, no image is loaded (its address
// would tell another server what was said here), and a link leads to http, https or mailto.

import { h, copyButton } from "./dom.js";
import { highlightLine } from "./highlight.js";

const DEPTH = 12; // of quotes and lists in one another
const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^\n]*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])(?: +|$)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ALIGN = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

const blank = (line) => !/\S/.test(line);
const indent = (line) => line.length - line.trimStart().length;

/** The blocks of some lines; each has `from`, the index of its first line. */
export function blocks(lines, depth = 0) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (blank(lines[at])) {
      at++;
      continue;
    }
    const from = at;
    const block = readBlock(lines, at, depth);
    at = block.end;
    found.push({ ...block, from });
  }
  return found;
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence && !(fence[2][0] === "`" && fence[3].includes("`"))) return readCode(lines, at, fence);
  const heading = HEADING.exec(line);
  if (heading) return { type: "heading", level: heading[1].length, text: heading[2] ?? "", end: at + 1 };
  if (RULE.test(line)) return { type: "rule", end: at + 1 };
  if (depth < DEPTH && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEPTH && ITEM.test(line) && indent(line) < 4) return readList(lines, at, depth);
  if (line.includes("|") && at + 1 < lines.length && ALIGN.test(lines[at + 1]) &&
      cells(line).length === cells(lines[at + 1]).length) return readTable(lines, at);
  const maths = /^\s*(\$\$|\\\[)/.exec(line);
  if (maths) return readMaths(lines, at, maths[1] === "$$" ? "$$" : "\\]");
  if (indent(line) >= 4) return readIndented(lines, at);
  return readParagraph(lines, at);
}

function readCode(lines, at, [, margin, marks, info]) {
  const body = [];
  let end = at + 1;
  let closed = false;
  for (; end < lines.length; end++) {
    const text = lines[end].trim();
    if (text[0] === marks[0] && text.length >= marks.length && indent(lines[end]) < 4 && [...text].every((c) => c === marks[0])) {
      closed = true;
      end++;
      break;
    }
    body.push(lines[end].slice(Math.min(margin.length, indent(lines[end]))));
  }
  return { type: "code", language: info.trim().split(/[\s{:,]/)[0].slice(0, 40), lines: body, closed, end };
}

function readIndented(lines, at) {
  let end = at;
  while (end < lines.length && (blank(lines[end]) || indent(lines[end]) >= 4)) end++;
  while (blank(lines[end - 1])) end--;
  const closed = lines.slice(end).some((line) => !blank(line));
  return { type: "code", language: "", lines: lines.slice(at, end).map((line) => line.slice(4)), closed, end };
}

function readMaths(lines, at, mark) {
  let end = at;
  while (end < lines.length && !blank(lines[end])) {
    const last = lines[end].trimEnd().endsWith(mark) && (end > at || lines[at].trim().length > mark.length);
    end++;
    if (last) break;
  }
  return { type: "maths", lines: lines.slice(at, end), end };
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || /^ {0,3}(?:[-*+]|1[.)]) +\S/.test(line);
}

function readParagraph(lines, at) {
  let end = at + 1;
  for (; end < lines.length && !blank(lines[end]); end++) {
    const under = /^ {0,3}(=+|-+)[ \t]*$/.exec(lines[end]);
    if (under) return { type: "heading", level: under[1][0] === "=" ? 1 : 2, text: lines.slice(at, end).join("\n"), end: end + 1 };
    if (startsBlock(lines[end])) break;
    if (lines[end].includes("|") && end + 1 < lines.length && ALIGN.test(lines[end + 1]) && lines[end + 1].includes("|")) break;
  }
  return { type: "text", text: lines.slice(at, end).map((line) => line.trimStart()).join("\n"), end };
}

function readQuote(lines, at, depth) {
  const inner = [];
  let end = at;
  for (; end < lines.length && !blank(lines[end]); end++) {
    if (!QUOTE.test(lines[end]) && (startsBlock(lines[end]) || blank(inner.at(-1)))) break;
    inner.push(lines[end].replace(QUOTE, ""));
  }
  return { type: "quote", blocks: blocks(inner, depth + 1), end };
}

function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at]);
  const margin = first[1].length;
  const ordered = /\d/.test(first[2]);
  const mark = first[2].at(-1);
  const items = [];
  let end = at;
  let loose = false;
  while (end < lines.length) {
    const item = ITEM.exec(lines[end]);
    const same = item && item[1].length < margin + 2 && item[2].at(-1) === mark && /\d/.test(item[2]) === ordered;
    if (!same || (RULE.test(lines[end]) && !ordered)) break;
    const [body, next, gap] = readItem(lines, end, item);
    items.push(body);
    end = next;
    const follows = gap && end < lines.length ? ITEM.exec(lines[end]) : null;
    if (follows && follows[1].length < margin + 2 && follows[2].at(-1) === mark) loose = true;
  }
  const made = items.map((body) => {
    const task = /^\[([ xX])\] +/.exec(body[0]);
    if (task) body[0] = body[0].slice(task[0].length);
    return { task: task && task[1] !== " ", isTask: Boolean(task), blocks: blocks(body, depth + 1) };
  });
  return { type: "list", ordered, start: ordered ? parseInt(first[2], 10) : 1, loose, items: made, end };
}

/** An item's lines without their margin, where the next item may begin, and whether a blank line is between. */
function readItem(lines, at, item) {
  const width = item[0].length > item[1].length + item[2].length + 4 ? item[1].length + item[2].length + 1 : item[0].length;
  const body = [lines[at].slice(width)];
  let end = at + 1;
  let gap = false;
  for (; end < lines.length; end++) {
    const line = lines[end];
    if (blank(line)) {
      gap = true;
      body.push("");
      continue;
    }
    const inside = indent(line) >= width || (ITEM.test(line) && indent(line) >= item[1].length + 2);
    if (!inside && (gap || startsBlock(line) || ITEM.test(line))) break;
    if (inside && gap) gap = false;
    body.push(line.slice(Math.min(width, indent(line))));
  }
  while (body.length > 1 && blank(body.at(-1))) body.pop();
  return [body, end, gap];
}

function cells(line) {
  const found = [];
  let cell = "";
  let code = false;
  const text = line.trim().replace(/^\|/, "");
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\" && text[i + 1] === "|") cell += text[++i];
    else if (text[i] === "|" && !code) {
      found.push(cell.trim());
      cell = "";
    } else {
      if (text[i] === "`") code = !code && text.indexOf("`", i + 1) > 0;
      cell += text[i];
    }
  }
  if (cell.trim() || !text.endsWith("|")) found.push(cell.trim());
  return found;
}

function readTable(lines, at) {
  const align = cells(lines[at + 1]).map((cell) => `${cell.startsWith(":") ? "l" : ""}${cell.endsWith(":") ? "r" : ""}`);
  const rows = [];
  let end = at + 2;
  for (; end < lines.length && lines[end].includes("|") && !blank(lines[end]); end++) rows.push(cells(lines[end]));
  return { type: "table", head: cells(lines[at]), align, rows, end };
}

// Elements

export function element(block) {
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
export class CodeView {
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

// Text within a block

const SPECIAL = /[\\`*_~[\]!<&\n$]|https?:\/\//g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", mdash: "—", ndash: "–", hellip: "…" };

/** Where a link may lead; null: nowhere. */
export function safeUrl(text) {
  // Browsers skip blanks and control characters in an address; so do we, before we look at it.
  const plain = text.replace(/[\u0000-\u0020\u007f-\u00a0\u200b-\u200f\u2028-\u202f\u2060\ufeff]/g, "");
  if (!/^(?:https?:\/\/|mailto:)/i.test(plain)) return null;
  try {
    const url = new URL(plain);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(url) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow", title: url });
}

/** Append a text to `parent`, with what is emphasised in it and its links. Linear but for emphasis that never ends. */
export function inline(parent, text) {
  new Inline(parent, text).run();
  return parent;
}

class Inline {
  constructor(parent, text) {
    this.parent = parent;
    this.text = text;
    this.at = 0;
    this.marks = []; // runs of * _ ~ that may open or close
    this.brackets = []; // [ that may begin a link
    this.noTicks = new Set(); // lengths of backticks that have no partner further on
  }

  run() {
    const text = this.text;
    while (this.at < text.length) {
      SPECIAL.lastIndex = this.at;
      const found = SPECIAL.exec(text);
      if (!found) break;
      this.plain(text.slice(this.at, found.index));
      this.at = found.index;
      this.special(found[0]);
    }
    this.plain(text.slice(this.at));
    this.emphasis(0);
  }

  plain(text) {
    if (text) this.parent.append(text);
  }

  take(length) {
    this.plain(this.text.slice(this.at, this.at + length));
    this.at += length;
  }

  special(sign) {
    switch (sign) {
      case "\\": return this.escape();
      case "`": return this.ticks();
      case "*": case "_": case "~": return this.run_of(sign);
      case "[": return this.open(1);
      case "!": return this.text[this.at + 1] === "[" ? this.open(2) : this.take(1);
      case "]": return this.close();
      case "<": return this.angle();
      case "&": return this.entity();
      case "\n": return this.line();
      case "$": return this.maths();
      default: return this.address();
    }
  }

  escape() {
    const next = this.text[this.at + 1];
    if (next === "(") return this.pair("\\(", "\\)");
    if (next === "\n") {
      this.parent.append(h("br"));
      this.at += 2;
    } else if (next && /[!-/:-@[-`{-~]/.test(next)) {
      this.plain(next);
      this.at += 2;
    } else this.take(1);
  }

  pair(begin, end) {
    const to = this.text.slice(this.at, this.at + 1000).indexOf(end, begin.length) + this.at;
    if (to < this.at) return this.take(begin.length);
    this.parent.append(h("code", { class: "maths" }, this.text.slice(this.at + begin.length, to).trim()));
    this.at = to + end.length;
  }

  maths() {
    const found = /^\$(?![\s$\d])([^$\n]{1,200}?)(?<![\s\\])\$(?!\w)/.exec(this.text.slice(this.at, this.at + 210));
    if (!found || !/[\\^_={}]/.test(found[1])) return this.take(1);
    this.parent.append(h("code", { class: "maths" }, found[1]));
    this.at += found[0].length;
  }

  ticks() {
    const run = /^`+/.exec(this.text.slice(this.at, this.at + 200))[0];
    const to = this.noTicks.has(run.length) ? null : this.partner(run);
    if (to === null) {
      this.noTicks.add(run.length);
      return this.take(run.length);
    }
    let body = this.text.slice(this.at + run.length, to).replaceAll("\n", " ");
    if (/^ .*[^ ].* $/s.test(body)) body = body.slice(1, -1);
    this.parent.append(h("code", {}, body));
    this.at = to + run.length;
  }

  partner(run) {
    const pattern = /`+/g;
    pattern.lastIndex = this.at + run.length;
    for (let found; (found = pattern.exec(this.text)); ) if (found[0].length === run.length) return found.index;
    return null;
  }

  run_of(sign) {
    let end = this.at;
    while (this.text[end] === sign) end++;
    const length = end - this.at;
    const before = this.at ? String.fromCodePoint(this.text.codePointAt(this.at - 1)) : " ";
    const after = end < this.text.length ? String.fromCodePoint(this.text.codePointAt(end)) : " ";
    const [blankBefore, blankAfter] = [/\s/.test(before), /\s/.test(after)];
    const [signBefore, signAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !blankAfter && (!signAfter || blankBefore || signBefore);
    const right = !blankBefore && (!signBefore || blankAfter || signAfter);
    const node = document.createTextNode(this.text.slice(this.at, end));
    this.parent.append(node);
    this.at = end;
    if (sign === "~" && length > 2) return;
    const opens = sign === "_" ? left && (!right || signBefore) : left;
    const closes = sign === "_" ? right && (!left || signAfter) : right;
    if (opens || closes) this.marks.push({ sign, node, length, whole: length, opens, closes });
  }

  /** Pair the runs from `bottom` on, as CommonMark has it, and forget them. */
  emphasis(bottom) {
    const marks = this.marks;
    const none = new Map(); // by kind of closer: below which index no opener is
    for (let c = bottom; c < marks.length; c++) {
      const closer = marks[c];
      if (!closer.closes) continue;
      while (closer.length) {
        const kind = `${closer.sign}${closer.opens}${closer.whole % 3}`;
        const floor = Math.max(bottom, none.get(kind) ?? bottom);
        let o = c - 1;
        while (o >= floor && !fits(marks[o], closer)) o--;
        if (o < floor) {
          none.set(kind, c);
          break;
        }
        wrap(marks[o], closer);
        for (let i = o + 1; i < c; i++) marks[i].length = 0;
      }
    }
    marks.length = bottom;
  }

  open(length) {
    const node = document.createTextNode(this.text.slice(this.at, this.at + length));
    this.parent.append(node);
    this.at += length;
    this.brackets.push({ node, image: length === 2, marks: this.marks.length });
  }

  close() {
    const opener = this.brackets.pop();
    const target = opener && /^\]\(\s*(?:<([^<>\n]*)>|([^\s()<]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?\s*\)/
      .exec(this.text.slice(this.at, this.at + 4000));
    if (!target) return this.take(1);
    this.emphasis(opener.marks);
    const url = safeUrl(target[1] ?? target[2] ?? "");
    const holder = url ? link(url) : h("span");
    while (opener.node.nextSibling) holder.append(opener.node.nextSibling);
    if (opener.image) {
      holder.prepend("image: ");
      holder.classList.add("image");
    }
    if (!url && opener.image) holder.title = "not loaded";
    opener.node.replaceWith(holder);
    this.brackets = opener.image ? this.brackets : this.brackets.filter((bracket) => bracket.image);
    this.at += target[0].length;
  }

  angle() {
    const rest = this.text.slice(this.at, this.at + 2000);
    const broken = /^<br\s*\/?>/i.exec(rest);
    if (broken) {
      this.parent.append(h("br"));
      this.at += broken[0].length;
      return;
    }
    const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(rest);
    const url = found && safeUrl(found[1]);
    if (!url) return this.take(1);
    const made = link(url);
    made.append(found[1]);
    this.parent.append(made);
    this.at += found[0].length;
  }

  entity() {
    const found = /^&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|(\w{2,8}));/i.exec(this.text.slice(this.at, this.at + 12));
    const code = found && (found[1] ? parseInt(found[1], 10) : found[2] ? parseInt(found[2], 16) : 0);
    const sign = found && (found[3] ? ENTITIES[found[3]] : code > 31 && code < 0x110000 ? String.fromCodePoint(code) : null);
    if (!sign) return this.take(1);
    this.plain(sign);
    this.at += found[0].length;
  }

  line() {
    const hard = /  $/.test(this.text.slice(Math.max(0, this.at - 2), this.at));
    this.parent.append(hard ? h("br") : "\n");
    this.at++;
  }

  address() {
    const found = /^https?:\/\/[^\s<>"`\u0000-\u001f]+/.exec(this.text.slice(this.at, this.at + 2000));
    const before = this.text[this.at - 1];
    let shown = found ? found[0].replace(/[.,;:!?'*_~\])}]+$/, (end) => (end.includes(")") && found[0].includes("(") ? ")" : "")) : "";
    const url = (!before || !/\w/.test(before)) && shown.length > 8 ? safeUrl(shown) : null;
    if (!url) return this.take(7);
    const made = link(url);
    made.append(shown);
    this.parent.append(made);
    this.at += shown.length;
  }
}

function fits(opener, closer) {
  if (!opener.opens || !opener.length || opener.sign !== closer.sign) return false;
  if (closer.sign === "~") return opener.length === closer.length;
  const odd = (opener.closes || closer.opens) && (opener.whole + closer.whole) % 3 === 0;
  return !odd || (opener.whole % 3 === 0 && closer.whole % 3 === 0);
}

function wrap(opener, closer) {
  const two = opener.length >= 2 && closer.length >= 2;
  const used = closer.sign === "~" ? closer.length : two ? 2 : 1;
  const made = h(closer.sign === "~" ? "del" : used === 2 ? "strong" : "em");
  while (opener.node.nextSibling && opener.node.nextSibling !== closer.node) made.append(opener.node.nextSibling);
  opener.node.after(made);
  for (const mark of [opener, closer]) {
    mark.length -= used;
    mark.node.data = mark.node.data.slice(used);
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
