// Colours for code, a line at a time, so that code which is still being written is never coloured twice.

import { h } from "./dom.js";

const words = (text) => new Set(text.split(" "));
const C_LIKE = words("abstract as async auto await bool boolean break byte case catch char class const continue default defer delete do double else enum export extends extern false final finally float fn for from func function go goto guard if impl implements import in instanceof int interface internal is let long loop match mod module mut namespace new nil null nullptr of operator override package private protected pub public readonly ref return select self short signed sizeof static string struct super switch template this throw throws trait true try type typedef typename typeof undefined union unsafe unsigned use using val var virtual void volatile when where while yield");
const PYTHON = words("and as assert async await break case class continue def del elif else except False finally for from global if import in is lambda match None nonlocal not or pass raise return self True try while with yield");
const SHELL = words("case cd do done echo elif else esac exit export fi for function if in local read return set shift source sudo then until while");
const SQL = words("add all alter and as asc begin between by case check commit create cross database default delete desc distinct drop else end exists foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer primary references right rollback select set table then union unique update using values view when where with");
const DATA = words("true false null yes no on off");

const SLASHES = { line: "//", block: ["/*", "*/"], words: C_LIKE, quotes: "\"'`" };
const HASH = { line: "#", words: DATA, quotes: "\"'" };
const KINDS = [
  [/^(?:py|python|python3|gyp|pyi|ipython)$/, { line: "#", words: PYTHON, quotes: "\"'", triple: true }],
  [/^(?:sh|bash|zsh|shell|console|fish|dockerfile|make|makefile)$/, { line: "#", words: SHELL, quotes: "\"'" }],
  [/^(?:ruby|rb|perl|r|elixir|julia|nix)$/, { line: "#", words: new Set([...PYTHON, "end", "do", "module", "require", "nil", "unless", "my", "sub", "let", "fn"]), quotes: "\"'" }],
  [/^(?:sql|sqlite|postgres|postgresql|mysql)$/, { line: "--", block: ["/*", "*/"], words: SQL, quotes: "\"'", fold: true }],
  [/^(?:lua|haskell|hs|ada)$/, { line: "--", words: new Set([...PYTHON, "local", "then", "end", "function", "nil", "true", "false", "where", "let", "data", "module"]), quotes: "\"'" }],
  [/^(?:yaml|yml|toml|ini|conf|properties)$/, { ...HASH, keys: true }],
  [/^(?:json|jsonc|json5)$/, { line: "//", words: DATA, quotes: '"', keys: true }],
  [/^(?:html|xml|svg|vue|xhtml)$/, { block: ["<!--", "-->"], words: new Set(), quotes: "\"'", tags: true }],
  [/^(?:css|scss|less)$/, { block: ["/*", "*/"], words: new Set(), quotes: "\"'", keys: true }],
  [/^(?:diff|patch)$/, { diff: true }],
  [/^(?:c|h|cc|cpp|c\+\+|cxx|hpp|cs|csharp|c#|java|kotlin|kt|scala|go|golang|rust|rs|swift|js|javascript|mjs|jsx|ts|typescript|tsx|php|dart|zig|groovy|proto|glsl|d)$/, SLASHES],
];

function kindOf(language) {
  return KINDS.find(([pattern]) => pattern.test(language.toLowerCase()))?.[1];
}

/** The line as nodes, and what it leaves open for the next one. */
export function highlightLine(line, language, state) {
  const made = document.createDocumentFragment();
  const kind = kindOf(language);
  if (!kind || line.length > 2000) {
    made.append(line);
    return [made, ""];
  }
  if (kind.diff) {
    const sort = { "+": "add", "-": "cut", "@": "note" }[line[0]];
    made.append(sort ? h("span", { class: `hl-${sort}` }, line) : line);
    return [made, ""];
  }
  return [made, new Scan(made, line, kind).run(state)];
}

class Scan {
  constructor(made, line, kind) {
    Object.assign(this, { made, line, kind, at: 0, plain: "" });
  }

  add(sort, length) {
    const text = this.line.slice(this.at, this.at + length);
    this.at += length;
    if (!sort) this.plain += text;
    else {
      this.flush();
      this.made.append(h("span", { class: `hl-${sort}` }, text));
    }
  }

  flush() {
    if (this.plain) this.made.append(this.plain);
    this.plain = "";
  }

  run(state) {
    let open = state && this.until(state === this.kind.block?.[1] ? "note" : "text", state, 0);
    while (!open && this.at < this.line.length) open = this.step() ?? "";
    this.flush();
    return open || "";
  }

  /** What ends with `mark`; the mark where the line does not have it. */
  until(sort, mark, skip) {
    const end = this.line.indexOf(mark, this.at + skip);
    this.add(sort, end < 0 ? this.line.length : end + mark.length - this.at);
    return end < 0 ? mark : "";
  }

  step() {
    const { kind, line, at } = this;
    const rest = line.slice(at, at + 200);
    if (kind.line && rest.startsWith(kind.line) && (kind.line !== "#" || !at || /\s/.test(line[at - 1]))) return this.add("note", line.length - at);
    if (kind.block && rest.startsWith(kind.block[0])) return this.until("note", kind.block[1], kind.block[0].length);
    const triple = kind.triple && /^(?:"""|''')/.exec(rest);
    if (triple) return this.until("text", triple[0], 3);
    if (kind.quotes.includes(rest[0])) return this.quoted(rest[0]);
    if (kind.tags) {
      const tag = /^<\/?[\w:-]+|^\/?>/.exec(rest);
      if (tag) return this.add("word", tag[0].length);
    }
    const key = kind.keys && /^[\w-]+(?=\s*[:=])/.exec(rest);
    if (key && (!at || !/[\w.]/.test(line[at - 1]))) return this.add("name", key[0].length);
    const amount = /^(?:0x[\da-f_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b/i.exec(rest);
    if (amount) return this.add("number", amount[0].length);
    const word = /^[\p{L}_$@][\p{L}\p{N}_$]*/u.exec(rest);
    if (word) return this.word(word[0]);
    return this.add("", 1);
  }

  quoted(quote) {
    for (let end = this.at + 1; end < this.line.length; end++) {
      if (this.line[end] === "\\") end++;
      else if (this.line[end] === quote) {
        const isKey = this.kind.keys && /^\s*:/.test(this.line.slice(end + 1, end + 20));
        return this.add(isKey ? "name" : "text", end + 1 - this.at);
      }
    }
    if (quote === "`") return this.until("text", "`", 1);
    return this.add(/^'\w/.test(this.line.slice(this.at)) && quote === "'" ? "" : "text", quote === "'" ? 1 : this.line.length - this.at);
  }

  word(text) {
    const known = this.kind.words.has(this.kind.fold ? text.toLowerCase() : text);
    const called = this.line[this.at + text.length] === "(";
    return this.add(known ? "word" : called || text[0] === "@" ? "name" : "", text.length);
  }
}
