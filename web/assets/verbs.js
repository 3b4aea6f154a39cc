// The bar under a card: time left, who waits, the short code, and the verbs. A verb is only sent while the page is in step
// with the broker, and a critical approval takes a second step that repeats what will happen.

import { cancelCall, extendCall, liftDenial, vote, withdrawVote } from "./api.js";
import { settle, useKeys } from "./keys.js";
import { Resolve } from "./resolve.js";
import { inStep, meetLostKey, refresh, useDraft, useStore } from "./store.js";
import { Short } from "./text.js";
import { Countdown } from "./time.js";
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { approveLabel, consequence, deed, isGrave, isOpen, needs, resolution, status, target, tone, waiting } from "./words.js";

/** The bar for one call and digest; a new digest makes a new bar, so that no reason or confirmation is carried over. */
export function Verbs({ call, next, onNext }) {
  const { me } = useStore();
  const [{ reason, confirming }, change] = useDraft(call);
  const setReason = (text) => change({ reason: text });
  const setConfirming = (open) => change({ confirming: open });
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const [hint, setHint] = useState(null);
  const bar = useRef(null);

  async function run(action) {
    if (busy || !inStep()) return;
    setBusy(true);
    setProblem(null);
    setHint(null);
    try {
      await action();
      setConfirming(false);
      settle();
    } catch (caught) {
      if (meetLostKey(caught)) return;
      setProblem(caught);
    }
    await refresh(call.id).catch(() => {});
    setBusy(false);
  }

  const deny = () => run(() => vote(call, "deny", reason));
  // What is sent must have been on the page: lists only say that there is more than the arguments.
  const unseen = call.other && typeof call.other_raw !== "string";
  const approve = () => (unseen ? setHint("More than the arguments is sent; wait until it is shown.") : run(() => vote(call, "approve", reason)));
  const mayVote = call.state === "pending" && call.can_vote;
  const shared = { call, me, reason, setReason, run, busy: busy || !inStep(), approve, deny, setHint };
  return html`<footer class=${`verbs ${confirming ? "confirming" : ""}`} ref=${bar} aria-label="Decide">
    ${problem && html`<p class="problem" role="alert">${problem.detail || problem.title}</p>`}
    ${hint && html`<p class="hint" role="status">${hint}</p>`}
    <${Meta} ...${shared} />
    ${confirming && mayVote ? html`<${Confirm} ...${shared} onBack=${() => setConfirming(false)} />`
    : mayVote ? html`<${Vote} ...${shared} onConfirm=${() => { setHint(null); setConfirming(true); }} />`
    : call.state === "lost" && !resolution(call) && me?.role !== "auditor" ? html`<${Resolve} ...${shared} />`
    : html`<${Standing} ...${shared} next=${next} onNext=${onNext} />`}
  </footer>`;
}

function Meta({ call, busy, run, me }) {
  if (!isOpen(call)) return null;
  const wait = waiting(call);
  const clerk = me?.role !== "auditor";
  return html`<p class="meta">
    ${call.state === "pending" && call.expires_at && html`<span>Expires in <${Countdown} at=${call.expires_at} /><span class="then">, then it is denied</span>
      ${clerk && html` <button type="button" class="link" disabled=${busy} onClick=${() => run(() => extendCall(call, "5m"))}>+5 min</button>`}</span>`}
    ${call.state === "permitted" && call.use_by && wait[1] !== "here" && html`<span>Expires in <${Countdown} at=${call.use_by} /><span class="then"> unless the agent comes back</span></span>`}
    ${needs(call).map((text) => html`<span class="quorum">${text}</span>`)}
    ${call.state === "pending" && wait?.[1] !== "here" && html`<span class=${`wait ${wait[1]}`}><i></i>Approved, it runs if the agent comes back</span>`}
    <span class="code">Code <b class="mono">${call.short_code}</b></span></p>`;
}

function Vote({ call, reason, setReason, busy, approve, deny, setHint, onConfirm }) {
  const field = useRef(null);
  const go = useRef(null);
  const denying = useRef(false);
  const critical = call.severity === "critical";
  useKeys({
    a: () => {
      if (isGrave(call)) setHint(`${call.severity === "critical" ? "Critical" : "High"} severity: no key approves it, only the button.`);
      else if (call.severity === "low") approve();
      else go.current?.focus();
    },
    d: () => {
      if (!isGrave(call)) return deny();
      denying.current = true;
      setHint("Enter denies it, with the reason or without; Esc goes back.");
      field.current?.focus();
    },
    r: () => field.current?.focus(),
  });
  // Enter denies only after the key that asked for it: one who came to write a reason has not decided yet.
  const typed = (event) => {
    if (event.key === "Escape") { setHint(null); event.target.blur(); }
    if (event.key === "Enter" && denying.current && !event.isComposing && !event.repeat) deny();
  };
  return html`<div class="decide">
    <input ref=${field} class="field" placeholder="Reason (agents read it with a denial)" aria-label="Reason, which the agent reads with a denial" maxlength="2000" autocomplete="off"
      value=${reason} onInput=${(event) => setReason(event.target.value)} onKeyDown=${typed} onBlur=${() => { denying.current = false; }} />
    <button type="button" class="btn no" disabled=${busy} onClick=${deny}>Deny<kbd>d</kbd></button>
    <button type="button" class="btn go" ref=${go} disabled=${busy} onClick=${critical ? onConfirm : approve}>
      ${critical ? "Review and approve…" : approveLabel(call)}${!isGrave(call) && html`<kbd>a</kbd>`}</button>
  </div>`;
}

function Confirm({ call, busy, approve, onBack }) {
  const panel = useRef(null);
  const named = target(call);
  useEffect(() => panel.current?.focus(), []);
  useKeys({ Escape: onBack });
  return html`<div class="confirm" role="group" aria-labelledby="confirm-title" ref=${panel} tabindex="-1">
    <p id="confirm-title"><b><${Short} text=${deed(call)} /></b> <code><${Short} text=${call.tool} /></code>${named && html` <strong class="target mono"><${Short} text=${named[1]} limit=${80} /></strong>`}
      ${" "}on ${call.server}, for <${Short} text=${call.agent} />.</p>
    <p class="muted">Critical. ${consequence(call)}</p>
    <div class="decide two"><button type="button" class="btn" onClick=${onBack}>Back</button>
    <button type="button" class="btn danger" disabled=${busy} onClick=${approve}>${approveLabel(call)}</button></div>
  </div>`;
}

function Standing({ call, me, busy, run, next, onNext }) {
  const mine = (call.reviews ?? []).find((review) => review.reviewer === me?.name && review.vote === "approve");
  const open = call.state === "pending" || call.state === "permitted";
  const words = standing(call, !!mine && open);
  const may = open && me?.role !== "auditor";
  const box = useRef(null);
  // The buttons that had the focus are gone: without this the keyboard would start again at the top of the page.
  useEffect(() => { if (document.activeElement === document.body) box.current?.focus({ preventScroll: true }); }, []);
  return html`<div class="standing" ref=${box} tabindex="-1">
    <p class=${`said ${isOpen(call) ? "" : tone(call)}`} role="status">${words}</p>
    <span class="acts">
      ${mine && open && html`<button type="button" class="btn small" disabled=${busy} title="It waits for reviewers again" onClick=${() => run(() => withdrawVote(call))}>Withdraw approval</button>`}
      ${may && html`<button type="button" class="btn small" title="It ends, nothing is run, and the agent is told" disabled=${busy} onClick=${() => run(() => cancelCall(call, ""))}>Cancel call</button>`}
      ${call.answers_until && me?.role !== "auditor" && html`<button type="button" class="btn" title="Until then, the same call made again is told this denial" disabled=${busy} onClick=${() => run(() => liftDenial(call))}>Let it ask again</button>`}
      ${next && html`<button type="button" class="link onward" onClick=${onNext}>Next<span class="then"> call</span><kbd>j</kbd></button>`}</span>
  </div>`;
}

function standing(call, mine) {
  if (!mine) return call.state === "pending" ? call.can_vote_why ?? "This one is for other reviewers." : status(call);
  if (call.state === "pending") return "You approved; it waits for others. Withdraw takes your vote back; Cancel ends the call.";
  if (waiting(call)[1] === "here") return "You approved; it is sent now.";
  return "You approved; it runs if the agent comes back. Withdraw puts it back to waiting; Cancel ends it.";
}
