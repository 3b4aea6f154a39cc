// What this agent did with this tool before: the last calls, and the arguments of the last that was approved and ran.

import { listCalls } from "./api.js";
import { Short } from "./text.js";
import { absolute, useNow, when } from "./time.js";
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { status, target, tone } from "./words.js";

const SETTLED = "completed,denied,expired,cancelled,failed,lost";

/** The last calls of the same agent and tool, newest first; null until known. */
export function usePrecedent(call) {
  const [calls, setCalls] = useState(null);
  useEffect(() => {
    let current = true;
    setCalls(null);
    listCalls({ state: SETTLED, agent: call.agent, tool: call.tool, server: call.server, limit: 6 })
      .then((page) => current && setCalls(page.calls.filter((other) => other.id !== call.id).slice(0, 5)))
      .catch(() => {}); // without precedent the card is still whole; the offline banner says what is wrong
    return () => { current = false; };
  }, [call.id, call.state]);
  return calls;
}

/** The arguments of the last call before this one that ran, to compare with; null when there was none. */
export function lastApproved(call, calls) {
  return calls?.find((other) => other.state === "completed" && other.requested_at < call.requested_at)?.arguments ?? null;
}

/** The list under the card. */
export function Precedent({ call, calls }) {
  const now = useNow();
  return html`<section aria-labelledby="precedent-title"><h3 id="precedent-title"><span><${Short} text=${call.agent} limit=${32} /> and this tool</span></h3>
    ${calls === null ? html`<p class="skeleton line"></p>` : calls.length === 0 ? html`<p class="muted first">No other call of this agent to this tool has ended yet.</p>`
    : html`<ul class="hist">${calls.map((other) => html`<li><time datetime=${other.requested_at} title=${absolute(other.requested_at)}>${when(other.requested_at, now)}</time>
        <a href=${`/c/${encodeURIComponent(other.id)}`}><span>${target(other) ? html`<${Short} text=${target(other)[1]} limit=${48} />` : "the call"}</span></a>
        <span class=${`ended ${tone(other)}`}>${status(other)}</span></li>`)}</ul>`}
  </section>`;
}
