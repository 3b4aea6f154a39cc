// JSON as it was written: a parser whose numbers keep their digits. The built-in one rounds 9007199254740993, and a
// reviewer must see the number that will be sent, not its neighbour.

/** A number that does not survive as a JavaScript number; `text` is the token as written. */
export class ExactNumber {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
  toJSON() { return this.text; }
}

const SPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const WORDS = [["true", true], ["false", false], ["null", null]];

/** Parses JSON text; throws `SyntaxError` with the offset when it is not JSON. */
export function parse(text) {
  const reader = { text, at: 0 };
  const value = readValue(reader);
  skipSpace(reader);
  if (reader.at !== text.length) fail(reader);
  return value;
}

function readValue(r) {
  skipSpace(r);
  const first = r.text[r.at];
  if (first === "{") return readObject(r);
  if (first === "[") return readArray(r);
  if (first === '"') return readString(r);
  for (const [word, value] of WORDS) {
    if (r.text.startsWith(word, r.at)) { r.at += word.length; return value; }
  }
  const token = match(r, NUMBER);
  const number = Number(token);
  return String(number) === token ? number : new ExactNumber(token);
}

function readObject(r) {
  const out = {};
  r.at++;
  skipSpace(r);
  if (r.text[r.at] === "}") { r.at++; return out; }
  for (;;) {
    skipSpace(r);
    const key = readString(r);
    skipSpace(r);
    expect(r, ":");
    // `__proto__` must become a member like any other, so the value is defined, never assigned.
    Object.defineProperty(out, key, { value: readValue(r), enumerable: true, configurable: true, writable: true });
    skipSpace(r);
    if (r.text[r.at] === ",") { r.at++; continue; }
    expect(r, "}");
    return out;
  }
}

function readArray(r) {
  const out = [];
  r.at++;
  skipSpace(r);
  if (r.text[r.at] === "]") { r.at++; return out; }
  for (;;) {
    out.push(readValue(r));
    skipSpace(r);
    if (r.text[r.at] === ",") { r.at++; continue; }
    expect(r, "]");
    return out;
  }
}

function readString(r) {
  return JSON.parse(match(r, STRING));
}

function match(r, pattern) {
  pattern.lastIndex = r.at;
  const found = pattern.exec(r.text);
  if (!found) fail(r);
  r.at = pattern.lastIndex;
  return found[0];
}

function skipSpace(r) {
  SPACE.lastIndex = r.at;
  SPACE.exec(r.text);
  r.at = SPACE.lastIndex;
}

function expect(r, char) {
  if (r.text[r.at] !== char) fail(r);
  r.at++;
}

function fail(r) {
  throw new SyntaxError(`not JSON at offset ${r.at}`);
}
