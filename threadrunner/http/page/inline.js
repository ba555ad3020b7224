// Text within a block: emphasis, code, links. A link leads to http, https or mailto; an image is only a link, for to load
// it would tell another server what was said here.

import { h } from "./dom.js";

const SPECIAL = /[\\`*_~[\]!<&\n$]|https?:\/\//g;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", mdash: "—", ndash: "–", hellip: "…" };

/** Where a link may lead; null: nowhere. */
function safeUrl(text) {
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
