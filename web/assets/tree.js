// Arguments and answers as a typed tree: every member is there, in its own row, with what is unusual about it beside it.

import { ExactNumber, parse } from "./exact.js";
import { Source, Value, bytes, hasHidden, mixesScripts } from "./text.js";
import { html, useState } from "./vendor/preact-htm.js";

const FIRST = 100;
const OPEN_DEPTH = 4;

/** The arguments of a call: the tree, with the exact bytes one click away. `before` are those of the last approved call. */
export function Arguments({ call, before }) {
  const [raw, setRaw] = useState(false);
  const text = call.arguments_raw ?? JSON.stringify(call.arguments ?? {}, null, 2);
  const value = exact(call);
  if (value === null) return html`<section aria-labelledby="args-title"><h3 id="args-title">Arguments</h3><p class="muted">Erased, as the retention rules say. The digest still binds them.</p></section>`;
  return html`<section aria-labelledby="args-title">
    <h3 id="args-title">Arguments <span class="size">${bytes(text)}</span>
      <button type="button" class="link" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>${raw ? "As a list" : "Raw"}</button></h3>
    ${raw ? html`<pre class="raw mono" tabindex="0" aria-label="Arguments as the agent sent them"><${Source} text=${text} /></pre>`
    : html`<${Tree} value=${value} before=${before} />`}
  </section>`;
}

/** What is sent beside the arguments; nothing where there is nothing. Only `_meta` is usual there. */
export function Beside({ call }) {
  const [raw, setRaw] = useState(false);
  if (!call.other) return null;
  const text = call.other_raw;
  const value = typeof text === "string" ? read(text) : null;
  const odd = value !== null && (!isContainer(value) || Object.keys(value).some((name) => name !== "_meta"));
  return html`<section class="beside" aria-labelledby="beside-title">
    <h3 id="beside-title">Also sent ${odd && html`<span class="mark alarm">unusual</span>`}
      ${text && html`<span class="size">${bytes(text)}</span>
        <button type="button" class="link" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>${raw ? "As a list" : "Raw"}</button>`}</h3>
    ${value === null ? html`<p class="muted">More than the arguments is sent; it is being fetched.</p>`
    : raw ? html`<pre class="raw mono" tabindex="0" aria-label="What is sent beside the arguments, as the agent wrote it"><${Source} text=${text} /></pre>`
    : html`<${Tree} value=${value} />`}
  </section>`;
}

function read(text) {
  try {
    return parse(text);
  } catch {
    return text;
  }
}

/** The arguments as JavaScript values whose numbers keep their digits. */
export function exact(call) {
  if (typeof call.arguments_raw !== "string") return call.arguments ?? null;
  try {
    return parse(call.arguments_raw);
  } catch {
    return call.arguments ?? call.arguments_raw;
  }
}

/** Any JSON value as rows. */
export function Tree({ value, before }) {
  if (!isContainer(value)) return html`<div class="args mono"><${Leaf} name="value" value=${value} marks=${marksOf(value)} depth=${0} /></div>`;
  if (members(value).length === 0) return html`<p class="none muted">${Array.isArray(value) ? "An empty list" : "No arguments"}</p>`;
  return html`<div class="args mono" role="list"><${Members} value=${value} before=${before} depth=${0} /></div>`;
}

function Members({ value, before, depth }) {
  const [all, showAll] = useState(false);
  const rows = members(value).map(([name, member]) => ({ name, member, was: before?.[name], marks: marksFor(name, member, before, depth) }));
  // What is out of the ordinary comes first; the sort is stable, so the rest keeps the order of the request.
  if (depth === 0) rows.sort((a, b) => rank(b) - rank(a));
  const shown = all ? rows : rows.slice(0, FIRST);
  return html`${shown.map((row) => html`<${Member} key=${row.name} ...${row} depth=${depth} />`)}
    ${shown.length < rows.length && html`<div class="arg" role="listitem"><button type="button" class="more" onClick=${() => showAll(true)}>
      … ${(rows.length - shown.length).toLocaleString("en")} more, show all ${rows.length.toLocaleString("en")} …</button></div>`}`;
}

function Member({ name, member, was, marks, depth }) {
  return isContainer(member) && members(member).length > 0
    ? html`<${Branch} name=${name} value=${member} marks=${marks} depth=${depth} />`
    : html`<${Leaf} name=${name} value=${member} was=${was} marks=${marks} depth=${depth} />`;
}

function Branch({ name, value, marks, depth }) {
  const [open, setOpen] = useState(depth < OPEN_DEPTH);
  const count = members(value).length;
  const what = Array.isArray(value) ? (count === 1 ? "list of 1" : `list of ${count}`) : count === 1 ? "1 member" : `${count} members`;
  return html`<div class=${`arg branch d${Math.min(depth, 6)}`} role="listitem">
      <button type="button" class="k fold" aria-expanded=${open} onClick=${() => setOpen(!open)}><${Value} text=${name} /></button>
      <span class="v muted">${what}</span><${Marks} marks=${marks} /></div>
    ${open && html`<${Members} value=${value} depth=${depth + 1} />`}`;
}

function Leaf({ name, value, was, marks, depth }) {
  const changed = marks.some((mark) => mark.kind === "changed");
  return html`<div class=${`arg d${Math.min(depth, 6)}`} role="listitem">
    <span class="k"><${Value} text=${name} /></span>
    <span class="v">${changed && html`<del class="was"><${Scalar} value=${was} /></del> `}
      ${changed ? html`<ins class="now"><${Scalar} value=${value} /></ins>` : html`<${Scalar} value=${value} />`}</span>
    <${Marks} marks=${marks} /></div>`;
}

function Scalar({ value }) {
  if (typeof value === "string") return value === "" ? html`<span class="type">empty text</span>` : html`<${Value} text=${value} />`;
  if (value === null) return html`<span class="type">null</span>`;
  if (isContainer(value)) return html`<span class="type">${members(value).length ? "…" : Array.isArray(value) ? "empty list" : "no members"}</span>`;
  return html`<span class="literal">${String(value)}</span>`;
}

function Marks({ marks }) {
  return html`<span class="marks">${marks.map((mark) => html`<span class=${`mark ${mark.kind}`}>${mark.text}</span>`)}</span>`;
}

function marksFor(name, value, before, depth) {
  const marks = marksOf(value);
  if (hasHidden(name) || /[\t\r\n]/.test(name) || mixesScripts(name)) marks.push({ kind: "alarm", text: "odd name" });
  if (before && depth === 0) {
    if (!(name in before)) marks.push({ kind: "changed-name", text: "new since last approved" });
    else if (!isContainer(value) && !isContainer(before[name]) && String(before[name]) !== String(value)) marks.push({ kind: "changed", text: "differs from last approved" });
    else if (JSON.stringify(before[name]) !== JSON.stringify(value)) marks.push({ kind: "changed-name", text: "differs from last approved" });
  }
  return marks;
}

function marksOf(value) {
  const marks = [];
  if (typeof value === "string") {
    if (hasHidden(value)) marks.push({ kind: "alarm", text: "hidden characters" });
    if (mixesScripts(value)) marks.push({ kind: "alarm", text: "mixes alphabets" });
    if (value.length > 700) marks.push({ kind: "note", text: bytes(value) });
    else if (/^(-?\d+(\.\d+)?|true|false|null)$/.test(value)) marks.push({ kind: "note", text: "text" });
  } else if (typeof value === "number" || value instanceof ExactNumber) {
    marks.push({ kind: "note", text: "number" });
  } else if (typeof value === "boolean") {
    marks.push({ kind: "note", text: "yes / no" });
  }
  return marks;
}

const rank = (row) => (row.marks.some((m) => m.kind === "alarm") ? 2 : row.marks.some((m) => m.kind !== "note") ? 1 : 0);
const isContainer = (value) => value !== null && typeof value === "object" && !(value instanceof ExactNumber);
const members = (value) => (Array.isArray(value) ? value.map((item, index) => [String(index), item]) : Object.entries(value));
