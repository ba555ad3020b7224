// The way to `threadrunner serve`: questions, and answers that come as lines.

import { decode } from "./names.js";

const KEY = "threadrunner.key";

/** Which tab this is, so that it does not take its own changes for another's. */
export const TAB = Math.random().toString(36).slice(2);

export class Failure extends Error {
  constructor(message, kind = "", status = 0, facts = {}) {
    super(message);
    this.kind = kind;
    this.status = status;
    this.facts = facts;
  }
}

/** Whether a key has come: once, behind the #, which no server is sent; then it stays in this tab. */
export function takeKey() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return false;
  sessionStorage.setItem(KEY, decode(found[1]));
  history.replaceState(null, "", location.pathname);
  return true;
}

export function setKey(key) {
  sessionStorage.setItem(KEY, key);
}

function headers() {
  const key = sessionStorage.getItem(KEY);
  return { "Content-Type": "application/json", "X-Tab": TAB, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function post(method, params, options) {
  let response;
  try {
    response = await fetch(new URL(`../../ui/api/${method}`, import.meta.url), {
      method: "POST", headers: headers(), body: JSON.stringify(params), cache: "no-store", ...options,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("threadrunner serve does not answer. Is it still running? Start it again in a terminal; this page " +
      "then goes on by itself.", "Offline");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const { message, kind, code, ...facts } = body.error ?? {};
  throw new Failure(message ?? `HTTP ${response.status}`, kind ?? code ?? "", response.status, facts);
}

export async function call(method, params = {}, options = {}) {
  return (await post(method, params, options)).json();
}

/** The values of an answer's lines, as they come. */
export async function* lines(method, params, signal) {
  const response = await post(method, params, { signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The connection to threadrunner serve was lost.", "Offline");
    }
    if (part.done) return;
    rest += part.value;
    const whole = rest.split("\n");
    rest = whole.pop();
    const values = whole.filter(Boolean).map((text) => JSON.parse(text));
    if (values.length) yield values;
  }
}
