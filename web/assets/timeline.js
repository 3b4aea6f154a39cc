// The life of a call as the ledger has it: one line per event, oldest first.

import { Short, Value } from "./text.js";
import { absolute, clockTime } from "./time.js";
import { html } from "./vendor/preact-htm.js";
import { eventWords } from "./words.js";

/** The timeline; folded unless `open`. */
export function Timeline({ call, open }) {
  const items = call.timeline && merged(call.timeline);
  if (!items) return html`<details class="fold" open=${open}><summary>Timeline</summary><p class="skeleton line"></p></details>`;
  return html`<details class="fold" open=${open}><summary>Timeline <span class="size">${items.length}</span></summary>
    <ol class="timeline">${items.map((item, index) => html`<li class=${item.event}>
      <i aria-hidden="true"></i>
      <div><span>${eventWords(item)}</span>${since(items, index) && html` <span class="gap">${since(items, index)}</span>`}
        ${item.text && html`<p class="muted"><${Value} text=${String(item.text)} /></p>`}</div>
      <time datetime=${item.at} title=${absolute(item.at)}><${Short} text=${clockTime(item.at)} /></time></li>`)}</ol></details>`;
}

// A vote that denies and the denial that it makes are two entries of the ledger and one deed of a person.
function merged(items) {
  const out = [];
  for (const item of items) {
    const last = out[out.length - 1];
    const same = item.event === "denied" && last?.event === "voted" && last.vote === "deny" && last.by === item.by && Date.parse(item.at) - Date.parse(last.at) < 2_000;
    if (same) out[out.length - 1] = { ...item, text: last.text ?? item.text };
    else out.push(item);
  }
  return out;
}

// The pause before an event is shown where a person would ask about it: from two seconds on.
function since(items, index) {
  if (index === 0) return null;
  const seconds = Math.round((Date.parse(items[index].at) - Date.parse(items[index - 1].at)) / 1000);
  if (!(seconds >= 2)) return null;
  return seconds < 120 ? `after ${seconds} s` : seconds < 7200 ? `after ${Math.round(seconds / 60)} min` : `after ${Math.round(seconds / 3600)} h`;
}
