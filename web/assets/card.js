// The card of one call, in the order in which a reviewer judges: what is asked, on what, with which arguments, why it is
// here, what came before; the verbs stand below, always in the same place.

import { Icon } from "./icons.js";
import { Outcome, Reviews, Told } from "./outcome.js";
import { lastApproved, Precedent, usePrecedent } from "./precedent.js";
import { Severity } from "./row.js";
import { bytes, Short, Value } from "./text.js";
import { absolute, Ago } from "./time.js";
import { Timeline } from "./timeline.js";
import { Arguments, Beside } from "./tree.js";
import { Verbs } from "./verbs.js";
import { html } from "./vendor/preact-htm.js";
import { effect, isOpen, isText, operation, refusedAtOnce, severityOf, status, target, tone, waiting } from "./words.js";

// Where the exact version was not said, the generation of the protocol is known.
const PROTOCOLS = { legacy: "MCP 2025-11-25 or older", modern: "MCP 2026-07-28" };

/** The card with its verbs. `onNext` leads to the next call that needs this reviewer, when there is one. */
export function Card({ call, next, onNext, full = false }) {
  const precedent = usePrecedent(call);
  return html`<div class="card ${full ? "full" : ""}">
    <article aria-labelledby="card-title" class=${severityOf(call) ?? "unrated"}>
      <${Heading} call=${call} />
      <div class="body">
        <div class="main">
          <${Outcome} call=${call} />
          <${Arguments} key=${`args ${call.id}`} call=${call} before=${lastApproved(call, precedent)} />
          <${Beside} key=${`beside ${call.id}`} call=${call} />
          <${Why} call=${call} />
          <${Reviews} call=${call} />
          <${Precedent} call=${call} calls=${precedent} />
        </div>
        <div class="side">
          <${Timeline} call=${call} open=${full} />
          <${Particulars} call=${call} open=${full} />
        </div>
      </div>
    </article>
    <${Verbs} key=${`${call.id} ${call.digest}`} call=${call} next=${next} onNext=${onNext} />
  </div>`;
}

function Heading({ call }) {
  const named = target(call);
  const wait = waiting(call);
  return html`<header class="head">
    <p class="who">${severityOf(call) ? html`<${Severity} call=${call} />` : html`<span title="No rule of the policy gives this tool a risk">risk not stated</span>`}<span class="on"><${Icon} name="server" size=${16} />${call.server}</span>
      <span>asked <${Ago} at=${call.requested_at} />${call.round > 1 && html`, round ${call.round}`}</span>
      ${wait && html`<span class=${`wait ${wait[1]}`}><i></i>${wait[0]}</span>`}
      ${!isOpen(call) && html`<span class=${`state ${call.state} ${tone(call)}`}>${status(call)}</span>`}</p>
    <h2 id="card-title" tabindex="-1"><${Short} text=${call.agent} /> ${isOpen(call) ? "wants" : "asked"} to run <code><${Short} text=${call.tool} /></code>
      ${operation(call) && html` <code class="operation"><${Short} text=${operation(call)} /></code>`}
      ${named && html` ${isText(named[0]) ? "with" : "on"} ${words(named[0])}<span class="target"><${Short} text=${named[1]} limit=${80} /></span>`}</h2>
    ${effect(call) && html`<p class="effect">${effect(call)}</p>`}
    <${Links} call=${call} />
  </header>`;
}

// `batch_id` reads as "batch": the value after it is the id. `name` alone reads as nothing.
function words(name) {
  const short = name.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/[_-]+/g, " ").toLowerCase().replace(/(^| )(id|name|arn|key)$/, "");
  return short && html`<${Short} text=${short} limit=${32} /> `;
}

function Links({ call }) {
  if (!call.twin && !call.follows) return null;
  return html`<p class="links"><${Icon} name="link" size=${16} />
    ${call.twin && html`<span>The same request is waiting a second time: <a href=${`/c/${encodeURIComponent(call.twin)}`}>its twin</a>. Each is decided on its own.</span>`}
    ${call.follows && html`<span>Goes on from <a href=${`/c/${encodeURIComponent(call.follows)}`}>an earlier call</a>.</span>`}</p>`;
}

function Why({ call }) {
  return html`<section aria-labelledby="why-title"><h3 id="why-title">${isOpen(call) ? "Why it is here" : refusedAtOnce(call) ? "Why it was denied" : "Why it was asked"}</h3>
    <div class="why">
      ${call.reason && html`<p class="reason">“<${Value} text=${call.reason} />”</p>`}
      <p><${Rule} rule=${call.rule} denied=${refusedAtOnce(call)} /></p>
      ${isOpen(call) && html`<${Told} call=${call} />`}
    </div></section>`;
}

function Rule({ rule, denied }) {
  if (!rule) return denied ? "The policy denies it." : "The policy asks for a person here.";
  if (rule.startsWith("(default")) return html`No rule names this tool: the policy’s default ${denied ? "denies it" : "asks for a person"}.`;
  // Not a rule of a policy: what the broker itself did.
  if (rule.startsWith("(")) return html`Not by a rule of the policy: <${Short} text=${rule.slice(1, -1)} />.`;
  const named = html`<code><${Short} text=${rule} limit=${80} /></code> of the policy`;
  return denied ? html`Denied by rule ${named}.` : html`Rule ${named} asks for a person.`;
}

function Particulars({ call, open }) {
  const client = call.client ? `${call.client.name ?? ""} ${call.client.version ?? ""}`.trim() : null;
  const rows = [
    ["Agent", call.agent], ["Owner", call.owner], ["Client", client], ["Protocol", call.protocol ? `MCP ${call.protocol}` : PROTOCOLS[call.era] ?? call.era], ["Session", call.session],
    ["Asked", absolute(call.requested_at)], ["Expires", call.expires_at && absolute(call.expires_at)], ["Use by", call.use_by && absolute(call.use_by)],
    ["Arguments", call.arguments_raw && bytes(call.arguments_raw)], ["Digest", call.digest], ["Call", call.id],
  ].filter(([, value]) => value);
  return html`<details class="fold" open=${open}><summary>Particulars</summary>
    <dl class="facts">${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd class=${/Digest|Call|Session/.test(name) ? "mono" : ""}><${Value} text=${String(value)} /></dd></div>`)}</dl></details>`;
}
