// One call in a list: verb and target, then agent · server · why, a severity mark and the time that matters.

import { Short } from "./text.js";
import { absolute, Countdown, hourMinute, left, useNow, when } from "./time.js";
import { deed, isOpen, isText, progress, severityOf, STATES, status, target, tone, waiting } from "./words.js";
import { Component, html } from "./vendor/preact-htm.js";

const PATH = 30;

/** The severity as shape, word and colour; nothing when the broker rated nothing. */
export function Severity({ call }) {
  const severity = severityOf(call);
  if (!severity) return null;
  return html`<span class=${`sev ${severity}`}><i></i>${severity[0].toUpperCase() + severity.slice(1)}</span>`;
}

/** The row as a link to the call's page; `onOpen` takes plain clicks. `past`: in the history, with the time asked. Drawn anew only when what it shows has changed. */
export class Row extends Component {
  shouldComponentUpdate(next) {
    return next.call !== this.props.call || next.selected !== this.props.selected || next.fresh !== this.props.fresh;
  }

  render(props) {
    return line(props);
  }
}

function line({ call, selected, fresh, past, onOpen }) {
  const named = target(call);
  const click = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    onOpen(call);
  };
  return html`<a class=${`row ${fresh ? "fresh" : ""}`} href=${`/c/${encodeURIComponent(call.id)}`} data-call=${call.id}
      aria-current=${selected ? "true" : null} onClick=${click}>
    <b><span class="verb"><${Short} text=${deed(call)} limit=${48} /></span>${named && html` <span class="target"><${Short} text=${past || isText(named[0]) ? named[1] : pathEnd(named[1])} limit=${120} /></span>`}</b>
    ${past ? html`<time datetime=${call.requested_at} title=${`Asked ${absolute(call.requested_at)}`}>${hourMinute(call.requested_at)}</time>` : html`<${RowTime} call=${call} />`}
    <small>${fresh && html`<span class="new">New</span> `}<${Short} text=${call.agent} limit=${32} /> · ${call.server} · <${Why} call=${call} past=${past} /></small>
    <${Severity} call=${call} />
  </a>`;
}

// The end of a path tells two files apart, and the list has no room for its beginning.
function pathEnd(text) {
  const chars = [...text];
  if (!text.includes("/") || chars.length <= PATH) return text;
  const end = chars.slice(-PATH).join("");
  const at = end.indexOf("/");
  return `…${at > 0 && at < end.length / 2 ? end.slice(at) : end}`;
}

function RowTime({ call }) {
  const now = useNow();
  if (call.state === "pending" && call.expires_at) return html`<${Countdown} at=${call.expires_at} words=${left} />`;
  if (call.state === "permitted" && call.use_by) return html`<${Countdown} at=${call.use_by} words=${left} />`;
  const at = call.settled_at ?? call.requested_at;
  return html`<time datetime=${at} title=${absolute(at)}>${when(at, now)}</time>`;
}

function Why({ call, past }) {
  if (past && call.state === "pending") return html`<span class="status pending">${[STATES.pending, progress(call)].filter(Boolean).join(", ")}</span>`;
  if (call.state !== "pending") return html`<span class=${`status ${tone(call)}`}>${status(call)}</span>`;
  const gone = waiting(call)?.[1] === "gone";
  const voted = (call.quorums ?? []).some((quorum) => quorum.have > 0);
  if (voted) return status(call);
  if (gone) return "agent has left";
  return call.reason ? html`<${Short} text=${call.reason} limit=${120} />` : isOpen(call) ? "waiting" : "";
}
