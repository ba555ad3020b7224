// How conversations and models are called where people read it.

/** A name as a title: those that were made of a prompt's first words have hyphens. */
export function title(name) {
  const plain = /^[\p{Ll}\p{Lo}\p{N}]+(?:-[\p{Ll}\p{Lo}\p{N}]+)+$/u.test(name) ? name.replaceAll("-", " ") : name;
  return plain[0].toUpperCase() + plain.slice(1);
}

export const address = (name) => `#/${encodeURIComponent(name)}`;

/** What is behind the #, which a person may have typed: a % need not begin an escape there. */
export function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A model's name without its folder, and without what every name of its kind ends in. */
export function shortModel(name) {
  const file = name.replace(/^.*\//, "");
  return file.replace(/\.gguf$/i, "").replace(/[-.]GGUF(?=:|$)/i, "").replace(/[-.:](?:I?Q\d\w*|B?F(?:16|32))$/i, "") || name;
}
