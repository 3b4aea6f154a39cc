// What a call's end looks like: the server's answer, or the reason why there is none, and the votes.

import { parse } from "./exact.js";
import { Icon } from "./icons.js";
import { bytes, Short, Source, Value } from "./text.js";
import { Ago, took } from "./time.js";
import { Tree } from "./tree.js";
import { html, useState } from "./vendor/preact-htm.js";
import { isOpen, refusedAtOnce, status, tone } from "./words.js";

/** The outcome of a settled call, with its answer; nothing while the call is open. */
export function Outcome({ call }) {
  const outcome = call.outcome;
  if (!outcome) return null;
  const sentence = outcome.duration_ms !== undefined && call.state === "completed" ? `${status(call)} in ${took(Number(outcome.duration_ms))}` : status(call);
  const kind = tone(call);
  return html`<section class=${`outcome ${kind}`} aria-labelledby="outcome-title">
    <h3 id="outcome-title"><span class="said"><${Icon} name=${kind === "good" ? "check" : "cross"} size=${16} />${sentence}</span>
      ${outcome.bytes > 0 && html`<span class="size">${bytes(Number(outcome.bytes))}</span>`}</h3>
    <${Answer} outcome=${outcome} />
    <${Told} call=${call} />
  </section>`;
}

/** What the agent reads of it, word for word, where that is not the server's answer. */
export function Told({ call }) {
  if (!call.told) return null;
  const read = isOpen(call) || refusedAtOnce(call) || call.timeline?.some((step) => step.event === "delivered");
  return html`<div class="answer">
    <p class="fence">${read ? "The agent was told" : "The agent is told this if it asks again"}</p>
    <p class="told"><${Value} text=${call.told} /></p>
  </div>`;
}

function Answer({ outcome }) {
  const [raw, setRaw] = useState(false);
  const texts = contentTexts(outcome.answer_raw);
  const text = texts?.join("\n");
  if (!outcome.answer_raw) return null;
  return html`<div class="answer">
    <p class="fence">The server’s words
      ${outcome.answer_raw && html`<button type="button" class="link" aria-pressed=${raw} onClick=${() => setRaw(!raw)}>${raw ? "As text" : "Raw"}</button>`}</p>
    ${raw ? html`<pre class="raw mono" tabindex="0" aria-label="The answer as the server sent it"><${Source} text=${outcome.answer_raw} /></pre>` : html`<${Words} text=${text} raw=${outcome.answer_raw} />`}
  </div>`;
}

// Many servers answer with JSON inside a text: that reads better as rows.
function Words({ text, raw }) {
  const value = container(text) ?? (text ? null : container(raw));
  return value ? html`<${Tree} value=${value} />` : html`<p class="told"><${Value} text=${text ?? raw} /></p>`;
}

function contentTexts(raw) {
  const answer = container(raw);
  const content = answer?.result?.content ?? answer?.content;
  if (!Array.isArray(content)) return null;
  const texts = content.map((block) => (typeof block?.text === "string" ? block.text : `[${block?.type ?? "something"}]`));
  return texts.length ? texts : null;
}

function container(text) {
  if (typeof text !== "string" || !/^\s*[[{]/.test(text)) return null;
  try {
    return parse(text);
  } catch {
    return null;
  }
}

/** Who voted what, and why. */
export function Reviews({ call }) {
  const reviews = call.reviews ?? [];
  if (!reviews.length) return null;
  return html`<section aria-labelledby="votes-title"><h3 id="votes-title">Votes</h3>
    <ul class="votes">${reviews.map((review) => html`<li class=${review.vote}>
      <span class="mark"><${Icon} name=${review.vote === "approve" ? "check" : "cross"} size=${16} /></span>
      <span><b><${Short} text=${review.reviewer} /></b> ${review.vote === "approve" ? "approved" : "denied"}
        ${review.groups?.length > 0 && html` <span class="muted">for ${review.groups.join(", ")}</span>`}
        ${review.self_approved && html` <span class="mark note">owner of the agent</span>`}
        ${review.reason && html`<br />“<${Value} text=${review.reason} />”`}</span>
      <${Ago} at=${review.at} /></li>`)}</ul></section>`;
}
