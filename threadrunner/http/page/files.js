// Text files in a prompt: written as `threadrunner chat` writes them, each as a fenced block under its name.

const FILE_LIMIT = 1 << 20;
export const ALL_LIMIT = 4 << 20;
const FILE = /(?:^|\n\n)File ([^\n]{1,255}):\n(`{3,})\n([\s\S]*?)\n?\2(?=$|\n\nFile )/g;

export function withFiles(text, files) {
  const parts = files.map(({ name, text: body }) => {
    let ticks = "```";
    while (body.includes(ticks)) ticks += "`";
    return `File ${name}:\n${ticks}\n${body}${body.endsWith("\n") || !body ? "" : "\n"}${ticks}`;
  });
  return [text, ...parts].filter(Boolean).join("\n\n");
}

/** The prompt's own text, and the files behind it. */
export function splitFiles(prompt) {
  if (!prompt.includes("File ")) return { text: prompt, files: [] };
  const files = [];
  let end = prompt.length;
  const found = [...prompt.matchAll(FILE)];
  for (const match of found.reverse()) {
    if (match.index + match[0].length !== end) break;
    files.unshift({ name: match[1], text: match[3] });
    end = match.index;
  }
  return { text: prompt.slice(0, end), files };
}

/** A dropped or chosen file as text. Throws an Error whose words say what to do. */
export async function readFile(file) {
  const name = file.name.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, "?").slice(0, 200) || "file";
  if (file.size > FILE_LIMIT) throw new Error(`${name} has ${(file.size / 2 ** 20).toFixed(1)} MiB; a file may have 1. Attach a part of it.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${name} is no UTF-8 text. The models read text only.`);
  }
  if (text.includes("\0")) throw new Error(`${name} is no text. The models read text only.`);
  return { name, text: text.replaceAll("\r\n", "\n") };
}
