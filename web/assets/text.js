// Values from elsewhere, shown so that nothing hides: characters that one cannot see, or that move others, become chips
// with their code point; tabs and line breaks, which code is full of, are marked and keep their place; a look-alike letter of
// another alphabet gets its code point beside it; long text is cut in the middle, with its size, and opens on demand.

import { html, useState } from "./vendor/preact-htm.js";

// Controls, format characters (among them the bidirectional ones), everything a renderer may leave out, private and
// unassigned code points, lone surrogates, line separators, spaces other than the plain one, and the blank braille cell.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/u;
const UNSEEN = new RegExp(`(?!\\t|\\r?\\n)(?:${HIDDEN.source})|\\p{M}{4}`, "u");
const PIECES = new RegExp(`[ -~]+|\\t|\\r?\\n|(?:${HIDDEN.source})|(?<=\\p{M}{3})\\p{M}+|[^]`, "gu");
const LATIN = /\p{Script=Latin}/u;
const LOOKS_LATIN = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}]/u;
// The letters of other alphabets that look like Latin ones: a word of nothing else reads as another word.
const TWINS = /^[асеһіјӏорԁԛѕухԝαινορυօոսАВСЕНІЈКМОРЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧ]+$/u;
const NAMES = {
  0x00: "null", 0x07: "bell", 0x08: "backspace", 0x0d: "carriage return", 0x1b: "escape", 0x7f: "delete", 0xa0: "no-break space",
  0xad: "soft hyphen", 0x061c: "Arabic letter mark", 0x200b: "zero width space", 0x200c: "zero width non-joiner", 0x200d: "zero width joiner",
  0x200e: "left-to-right mark", 0x200f: "right-to-left mark", 0x2028: "line separator", 0x2029: "paragraph separator", 0x202a: "left-to-right embedding",
  0x202b: "right-to-left embedding", 0x202c: "pop directional formatting", 0x202d: "left-to-right override", 0x202e: "right-to-left override",
  0x2060: "word joiner", 0x2066: "left-to-right isolate", 0x2067: "right-to-left isolate", 0x2068: "first strong isolate",
  0x2069: "pop directional isolate", 0x2800: "blank braille pattern", 0xfeff: "byte order mark", 0xfffd: "replacement character",
  // What is written by hand is none of our marks.
  0x27e6: "a bracket, as marks have", 0x27e7: "a bracket, as marks have",
};
const HEAD = 480;
const TAIL = 160;
const LINES = 12;
const RUN = 3;
// Tabs in a row that still look like the indentation of code.
const INDENT = 8;

/** True when the text has characters that a reader would not see as they are; what lays out text is none of them. */
export const hasHidden = (text) => UNSEEN.test(text);

/** True when one word mixes Latin letters with look-alikes of another script. */
export const mixesScripts = (text) => text.split(/\s+/).some((word) => LATIN.test(word) && LOOKS_LATIN.test(word));

// The letters that are not what they look like, as a set of their places in the text: in a word of two alphabets those of
// the rarer one; and beside Latin words, as in an address, a word that has only look-alikes.
function oddLetters(text) {
  const odd = new Set();
  if (!LOOKS_LATIN.test(text)) return odd;
  for (const span of text.matchAll(/\S+/g)) {
    if (!mixesScripts(span[0])) continue;
    for (const word of span[0].matchAll(/[\p{L}\p{M}]+/gu)) {
      const letters = [...word[0].matchAll(/\p{L}/gu)];
      const [latin, other] = [LATIN, LOOKS_LATIN].map((script) => letters.filter(([letter]) => script.test(letter)));
      const mixed = latin.length > 0 && other.length > 0;
      const found = mixed ? (latin.length < other.length ? latin : other) : TWINS.test(word[0]) ? other : [];
      for (const letter of found) odd.add(span.index + word.index + letter.index);
    }
  }
  return odd;
}

/** The size of the text in UTF-8, in words: `312 B`, `12.3 KiB`. */
export function bytes(text) {
  return size(typeof text === "number" ? text : new TextEncoder().encode(text).length);
}

/** A whole document, such as JSON or a policy: its line breaks are layout, so only what is truly hidden is marked. */
export function Source({ text }) {
  return html`<bdi class="value">${pieces(text, "layout")}</bdi>`;
}

/** A whole value: line breaks kept and marked, cut in the middle when long. */
export function Value({ text }) {
  const [shown, show] = useState(false);
  const cut = shown ? null : middle(text);
  if (!cut) return html`<bdi class=${text.length > HEAD ? "value long" : "value"}>${pieces(text)}</bdi>`;
  return html`<bdi class="value">${pieces(cut.head)}
    <button type="button" class="more" onClick=${() => show(true)}>… ${cut.what} more, show all ${bytes(text)} …</button>
    ${pieces(cut.tail)}</bdi>`;
}

/** The value in one short line: for titles, rows and sentences. */
export function Short({ text, limit = 64 }) {
  const chars = [...text.slice(0, limit * 4)];
  const cut = chars.length > limit || text.length > limit * 4;
  // A third, for the end of a path says which file it is.
  const end = Math.min(24, Math.floor(limit / 3));
  const head = cut ? chars.slice(0, limit - end - 2).join("") : text;
  const tail = cut ? [...text.slice(-2 * end)].slice(-end).join("") : "";
  return html`<bdi class="short" title=${cut ? `${bytes(text)}, shortened` : null}>${pieces(head, "chip")}${cut && "…"}${pieces(tail, "chip")}</bdi>`;
}

function middle(text) {
  const lines = text.split("\n");
  if (text.length <= HEAD + TAIL + 80 && lines.length <= LINES) return null;
  if (text.length <= HEAD + TAIL + 80 || lines.slice(0, 8).join("\n").length < HEAD) {
    if (lines.length > LINES) {
      const head = whole(lines.slice(0, 8).join("\n").slice(0, HEAD));
      const tail = whole(lines.slice(-3).join("\n").slice(-TAIL));
      return { head, tail, what: `${(lines.length - 11).toLocaleString("en")} lines` };
    }
  }
  const [head, tail] = [whole(text.slice(0, HEAD)), whole(text.slice(-TAIL))];
  return { head, tail, what: `${(text.length - head.length - tail.length).toLocaleString("en")} characters` };
}

// A cut never splits a surrogate pair: half a pair would be shown as something that is not in the text.
function whole(slice) {
  return slice.replace(/^[\udc00-\udfff]/, "").replace(/[\ud800-\udbff]$/, "");
}

// `breaks`, of lines and tabs: "marked" (a chip and a break), "chip" (a chip in place of the break), "layout" (the break alone).
function pieces(text, breaks = "marked") {
  const out = [];
  let plain = "";
  const flush = () => { if (plain) { out.push(plain); plain = ""; } };
  for (const [piece, count, odd] of runs(text)) {
    if (odd) { flush(); out.push(...chips(piece, count, piece)); }
    else if (/^\r?\n$/.test(piece)) { flush(); out.push(...newline(piece, count, breaks)); }
    else if (piece === "\t") { flush(); out.push(...tabs(count, breaks)); }
    else if (HIDDEN.test(piece) || /[⟦⟧]/.test(piece)) { flush(); out.push(...chips(piece, count)); }
    else if (/^\p{M}+$/u.test(piece) && plain === "") out.push(...[...piece].slice(0, RUN).map((char) => chip(char, 1)));
    else if (/^\p{M}{2,}$/u.test(piece)) { flush(); out.push(html`<span class="chip">⟦${[...piece].length} stacked marks⟧</span>`); }
    else plain += piece.repeat(count);
  }
  flush();
  if (breaks !== "layout" && / $/.test(text)) out.push(html`<span class="chip soft" title="the value ends with a space">⟦space⟧</span>`);
  return out;
}

// `[piece, how often, whether it is an odd letter]`, equal neighbours as one.
function runs(text) {
  const out = [];
  const odd = oddLetters(text);
  for (const { 0: whole, index } of text.matchAll(PIECES)) {
    for (const [piece, isOdd] of apart(whole, index, odd)) {
      const last = out[out.length - 1];
      if (last && last[0] === piece && last[2] === isOdd) last[1]++;
      else out.push([piece, 1, isOdd]);
    }
  }
  return out;
}

// A piece of plain characters, taken apart where one of them is odd.
function apart(piece, index, odd) {
  if (odd.size === 0) return [[piece, false]];
  const out = [];
  let from = 0;
  for (let at = 0; at < piece.length; at++) {
    if (!odd.has(index + at)) continue;
    const char = String.fromCodePoint(piece.codePointAt(at));
    if (at > from) out.push([piece.slice(from, at), false]);
    out.push([char, true]);
    from = at + char.length;
  }
  if (from < piece.length) out.push([piece.slice(from), false]);
  return out;
}

function chips(char, count, shown) {
  return count > RUN ? [chip(char, count, shown)] : Array.from({ length: count }, () => chip(char, 1, shown));
}

// `shown`: the letter itself before its code point, where it can be seen.
function chip(char, count, shown = "") {
  const point = char.codePointAt(0);
  const code = `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
  const times = count > 1 ? ` × ${count.toLocaleString("en")}` : "";
  const what = shown ? `a ${scriptOf(shown)} letter in a word of another alphabet` : NAMES[point] ?? "a character that is not visible";
  return html`<span class="chip" title=${what}>⟦${shown && `${shown} `}${code}${times}⟧</span>`;
}

const SCRIPTS = ["Latin", "Cyrillic", "Greek", "Armenian", "Cherokee"].map((name) => [name, new RegExp(`\\p{Script=${name}}`, "u")]);
const scriptOf = (letter) => SCRIPTS.find(([, script]) => script.test(letter))?.[0] ?? "foreign";

function newline(piece, count, breaks) {
  if (breaks === "layout") return ["\n".repeat(count)];
  const oneLine = breaks === "chip";
  const mark = piece.length > 1 ? "CRLF" : "↵";
  if (oneLine || count > RUN) {
    return [html`<span class="chip soft" title="line break">⟦${mark}${count > 1 ? ` × ${count.toLocaleString("en")}` : ""}⟧</span>`, oneLine ? "" : "\n"];
  }
  return Array.from({ length: count }, () => [html`<span class="chip soft" title="line break">${mark}</span>`, "\n"]).flat();
}

function tabs(count, breaks) {
  if (breaks === "layout") return ["\t".repeat(count)];
  const oneLine = breaks === "chip";
  if (oneLine || count > INDENT) {
    return [html`<span class="chip soft" title="tab">⟦⇥${count > 1 ? ` × ${count.toLocaleString("en")}` : ""}⟧</span>`];
  }
  return Array.from({ length: count }, () => [html`<span class="chip soft" title="tab">⇥</span>`, "\t"]).flat();
}

function size(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(1)} KiB`;
  return `${(count / 1024 / 1024).toFixed(1)} MiB`;
}
