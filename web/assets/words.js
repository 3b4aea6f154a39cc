// The sentences about a call: pure functions from what the broker says to what a reviewer reads.

import { ExactNumber } from "./exact.js";

export const SEVERITIES = ["critical", "high", "medium", "low"];
const OPERATION = /^(operation|action|method|verb)$/i;
const TARGETS = [/^(batch|run|job|cluster|database|table|bucket|queue|execution|resource|item|file|user|account|message|record)_?(id|name|arn|key|path)?$/i, /(^|_)(id|arn|name|key|path|url|uri|identifier)$/i, /Id$|Arn$|Name$|Key$/, /^(command|query|sql|statement|to|channel)$/i];
const CLASSES = {
  destructive: "Destructive: what this removes may not come back.",
  write: "Changes things on the server.",
  financial: "Spends or moves money.",
  execute: "Runs code or commands.",
  read: "Only reads.",
};

export const isOpen = (call) => call.state === "pending" || call.state === "permitted" || call.state === "dispatched";
/** Nobody was asked: the policy said no, and the agent had that for an answer. */
export const refusedAtOnce = (call) => call.state === "denied" && !call.quorums?.length;
export const severityOf = (call) => (SEVERITIES.includes(call.severity) ? call.severity : null);
export const isGrave = (call) => call.severity === "critical" || call.severity === "high";

/** What the class of the tool means, in a sentence; null when the broker did not say. */
export function effect(call) {
  return call.class ? CLASSES[call.class] ?? `Class: ${call.class}.` : null;
}

/** The tool's name as words: `CancelAHORunBatch` → `Cancel AHO run batch`. */
export function verb(tool) {
  const words = tool.replace(/[_\-.]+/g, " ").replace(/([a-z\d])([A-Z])/g, "$1 $2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2").trim().split(/\s+/);
  const text = words.map((word) => (/^[A-Z\d]{2,}$/.test(word) ? word : word.toLowerCase())).join(" ");
  return text ? text[0].toUpperCase() + text.slice(1) : tool;
}

/** Tools such as `manage_…` take what they do as an argument; that word, or null. */
export function operation(call) {
  const found = Object.entries(call.arguments ?? {}).find(([name, value]) => OPERATION.test(name) && typeof value === "string" && /^[\w-]{3,40}$/.test(value));
  return found ? found[1] : null;
}

/** What the call does, as a title: the tool, and the operation that it takes as an argument. The tool is always there: a
 *  server may take no operation at all, and the word is the agent's. */
export function deed(call) {
  const word = operation(call);
  return word ? `${verb(call.tool)}: ${verb(word).toLowerCase()}` : verb(call.tool);
}

/** Is the argument of this name something to be read from its beginning, rather than the name of a thing? */
export const isText = (name) => /^(command|cmd|script|code|query|sql|statement)$/i.test(name);

/** The argument that names what the call works on, as `[name, text]`, or null. */
export function target(call) {
  const scalars = Object.entries(call.arguments ?? {}).filter(([, value]) => typeof value === "string" || typeof value === "number" || value instanceof ExactNumber);
  for (const pattern of TARGETS) {
    const found = scalars.find(([name]) => pattern.test(name) && !OPERATION.test(name));
    if (found) return [found[0], String(found[1])];
  }
  const first = scalars.find(([name]) => !OPERATION.test(name));
  return first ? [first[0], String(first[1])] : null;
}

/** The states as people read them; the command line and Slack say the same (`StateName::word`). */
export const STATES = { pending: "Waiting", permitted: "Approved", dispatched: "Running", completed: "Ran", denied: "Denied", expired: "Expired", cancelled: "Withdrawn", failed: "Not sent", lost: "Unknown outcome" };
// Who ended a call that nobody came back for, as the broker has it.
const TIMER = "the timer";

/** What has become of the call, short: for rows and badges. */
export function status(call) {
  switch (call.state) {
    case "pending": return progress(call) ?? STATES.pending;
    case "permitted": return waiting(call)[1] === "here" ? "Approved; it is sent now" : "Approved; runs if the agent comes back";
    case "dispatched": return call.quorums?.length ? "Approved; running now" : "Running now";
    case "completed": return isError(call) ? "Ran; the server answered with an error" : STATES.completed;
    case "denied": return call.rule === "(stopped)" ? "Stopped" : call.settled_by ? `Denied by ${call.settled_by}` : STATES.denied;
    case "expired": return call.lapsed ? "Expired: approved, but not collected in time; nothing was run" : "Expired, so denied; nothing was run";
    case "cancelled": return call.settled_by === TIMER ? "Withdrawn: the agent did not come back; nothing was run" : call.settled_by ? `Withdrawn by ${call.settled_by}; nothing was run` : "Withdrawn; nothing was run";
    case "failed": return "Not sent; nothing was run";
    case "lost": return resolution(call) ?? STATES.lost;
    default: return call.state;
  }
}

/** How a lost call was resolved by a person, or null. */
export function resolution(call) {
  const entry = call.timeline?.findLast?.((item) => item.event === "resolved");
  const outcome = call.resolved ?? entry?.outcome;
  if (!outcome && !entry) return null;
  return outcome === "done" ? "Resolved: it was done" : outcome === "not_done" ? "Resolved: it was not done" : "Resolved";
}

/** `1 of 2 approved`, over the quorums that are not met, or over all once they are; null when one approval is all that is needed. */
export function progress(call) {
  const told = (call.quorums ?? []).filter((quorum) => quorum.approvals > 1 || quorum.group || call.quorums.length > 1);
  if (!told.length) return null;
  const open = told.filter((quorum) => quorum.have < quorum.approvals);
  return (open.length ? open : told).map((q) => `${q.have} of ${q.approvals}${q.group ? ` ${q.group}` : ""}`).join(", ") + " approved";
}

/** What is needed, for the card: `1 of 2 approvals from genomics`, for each quorum that is not one approval of anybody alone. */
export function needs(call) {
  const several = call.quorums?.length > 1;
  const from = (q) => (q.group ? ` from ${q.group}` : several ? " from anybody" : "");
  return (call.quorums ?? []).filter((q) => q.approvals > 1 || q.group || several).map((q) => `${q.have} of ${q.approvals} ${q.approvals === 1 ? "approval" : "approvals"}${from(q)}`);
}

/** Whether someone still waits for the answer, as `[word, kind]` with kind here | later | gone; null once settled. */
export function waiting(call) {
  if (!isOpen(call)) return null;
  switch (call.waiting) {
    case "line":
    case true: return ["agent is waiting", "here"];
    case "task": return ["agent waits with a task", "here"];
    case "ticket": return ["agent has a ticket: it was told to call again", "later"];
    default: return ["agent has left", "gone"];
  }
}

/** How many approvals are missing. */
export const missing = (call) => (call.quorums ?? []).reduce((sum, q) => sum + Math.max(0, q.approvals - q.have), 0);

/** What approving does right now, given who waits. */
export function approveLabel(call) {
  if (missing(call) > 1) return "Approve";
  const kind = waiting(call)?.[1];
  return kind === "here" ? "Approve and run" : "Approve";
}

const ONCE_AWAY = "Until then approval can be withdrawn and the call cancelled; once sent it cannot be called back.";

/** What approving leads to, given who waits and how many approvals are missing; the command line says the same. */
export function consequence(call) {
  const open = missing(call);
  const approved = open > 1 ? `Your approval is one of ${open} that are still needed: with the last of them` : "Approved,";
  switch (waiting(call)?.[1]) {
    case "here": return `${approved} it is sent at once and cannot be called back.`;
    case "later": return `${approved} it may run once, when the agent calls again. ${ONCE_AWAY}`;
    default: return `${approved} it may run once, if the agent comes back. ${ONCE_AWAY}`;
  }
}

const DETACHED = {
  ticket: "The agent got a ticket: it was told to call again", cancelled: "The agent stopped waiting", closed: "The agent’s connection closed", restart: "The broker restarted; the agent was cut off",
};

/** A ledger event as words for the timeline. */
export function eventWords(item) {
  const who = item.by ? ` by ${item.by}` : "";
  const known = {
    submitted: "Asked for", attached: item.how === "task" ? "The agent waits with a task" : "The agent waits", detached: DETACHED[item.how] ?? "The agent left", voted: item.vote === "deny" ? `Denied${who}` : item.vote === "approve" ? `Approved${who}` : `Vote${who}`,
    vote_withdrawn: `Vote withdrawn${who}`, extended: `More time given${who}`, reparked: "Asked again: something changed, votes start over", permitted: "Approvals complete: it may run once",
    dispatched: "Sent to the server", completed: "The server answered", failed: "Not sent", lost: "Sent, but no answer came: unknown outcome", denied: `Denied${who}`,
    expired: item.lapsed ? "Approved, but not collected in time; nothing was run" : "Expired, so denied; nothing was run", cancelled: item.by === TIMER ? "Withdrawn" : `Withdrawn${who}`, delivered: item.how === "recall" ? "The agent came back for the answer" : "The answer reached the agent", resolved: `${item.outcome === "not_done" ? "It was not done" : "It was done"}, found${who}`, lifted: `Denial lifted${who}: made again, it asks again`, late_answer: "A late answer came",
  };
  return known[item.event] ?? item.event;
}

/** `good`, `bad`, `warn` or `plain`: the colour of what has happened. */
export function tone(call) {
  if (isError(call)) return "warn";
  return { completed: "good", denied: "bad", failed: "bad", lost: "warn" }[call.state] ?? "plain";
}

/** It ran, and the server answered that it went wrong; lists say so without the answer. */
const isError = (call) => call.is_error ?? call.outcome?.is_error ?? false;
