// Which calls are in the inbox and under which heading: pure, so that the list and the page's title agree.

import { isToday } from "./time.js";
import { isOpen, resolution } from "./words.js";

/** The inbox's groups in order, each `{key, title, calls}`; `arrivals` is the order in which the page met the calls. */
export function group({ calls, arrivals }, filter = "") {
  const known = arrivals.map((id) => calls.get(id)).filter((call) => call && matches(call, filter));
  const settled = known.filter((call) => isSettledToday(call)).sort((a, b) => (settledAt(a) < settledAt(b) ? 1 : -1));
  return [
    { key: "you", title: "Needs you", calls: known.filter((call) => call.state === "pending" && call.can_vote) },
    { key: "others", title: "Waiting for others", calls: known.filter((call) => call.state === "pending" && !call.can_vote) },
    { key: "unknown", title: "Unknown outcome", calls: known.filter(isUnknown) },
    { key: "approved", title: "Approved", calls: known.filter((call) => call.state === "permitted" || call.state === "dispatched") },
    { key: "settled", title: "Settled today", calls: settled },
  ].filter((entry) => entry.calls.length > 0);
}

/** The calls about which this reviewer has something to do: first to vote, then to say what became of them. */
export const toDo = (groups) => groups.filter((entry) => entry.key === "you" || entry.key === "unknown").flatMap((entry) => entry.calls);

/** How many calls wait for somebody: as many as "Needs you" and "Waiting for others" hold together. */
export const waitingCount = (calls) => [...calls.values()].filter((call) => call.state === "pending").length;

/** How many were sent, without anybody knowing yet what became of them. */
export const unknownCount = (calls) => [...calls.values()].filter(isUnknown).length;

/** When anything last happened, or null. */
export function lastActivity(calls) {
  const times = [...calls.values()].map((call) => call.settled_at ?? call.requested_at).sort();
  return times[times.length - 1] ?? null;
}

const isUnknown = (call) => call.state === "lost" && !resolution(call);
const settledAt = (call) => call.settled_at ?? call.requested_at;
const isSettledToday = (call) => !isOpen(call) && !isUnknown(call) && isToday(settledAt(call));

function matches(call, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = [call.tool, call.server, call.agent, call.short_code, call.severity, JSON.stringify(call.arguments)].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}
