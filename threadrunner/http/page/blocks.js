// Markdown's blocks: which lines are a heading, a list, a table, code. No elements are made here.

const DEPTH = 12; // of quotes and lists in one another
export const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^\n]*)$/;
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
