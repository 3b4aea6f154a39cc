// What this browser knows: who is signed in, the calls, and whether it is in step with the broker. It never guesses: a
// change is shown when the broker has said it, not when a button was pressed.

import { getCall, getMe, lacksPageKey, listCalls, listStops, Problem, signOut } from "./api.js";
import { follow } from "./live.js";
import { keepPageKey, pageKey } from "./pagekey.js";
import { useEffect, useState } from "./vendor/preact-htm.js";

const OPEN_STATES = "pending,permitted,dispatched,lost";
const SETTLED_STATES = "completed,denied,expired,cancelled,failed";
const COALESCE = 60;
const TOO_MANY = 40;

const state = {
  me: null, // {name, groups, role}; null until known
  signedOut: false,
  halfSignedIn: false, // signed out because this browser has the cookie without the page's key
  sync: "loading", // loading | live | offline
  cursor: null, // where the websocket goes on after the first load
  error: null, // the Problem of a first load that failed
  stops: [], // what is stopped now, by whom and why
  calls: new Map(), // id → call, as last told by the broker
  arrivals: [], // ids in the order in which this page met them: the list keeps that order, so that nothing jumps
  fresh: new Set(), // ids that came while the page was open and were not looked at yet
};
const NO_DRAFT = { reason: "", confirming: false };
const drafts = new Map();
const listeners = new Set();
const dirty = new Set();
let line = null;
let flushTimer = 0;
let reloading = Promise.resolve();

/** Re-renders the calling component at each change and gives the state. */
export function useStore() {
  const [, again] = useState(0);
  useEffect(() => {
    const listener = () => again((n) => n + 1);
    listeners.add(listener);
    listener();
    return () => listeners.delete(listener);
  }, []);
  return state;
}

/** Signs in, loads, then follows; also run again after signing in. */
export async function start() {
  try {
    state.me = await getMe();
    if (pageKey() === null) {
      loseKey();
      return changed();
    }
    state.signedOut = false;
    state.halfSignedIn = false;
    await reload();
    state.error = null;
    state.sync = "live";
    line ??= open();
  } catch (problem) {
    meet(problem);
    if (!state.signedOut) setTimeout(start, 2_000);
  }
  changed();
}

/** True when the problem was that the page's key is missing or another session's: then somebody signs in again. */
export function meetLostKey(problem) {
  if (!lacksPageKey(problem)) return false;
  loseKey();
  changed();
  return true;
}

function loseKey() {
  keepPageKey(null);
  meet(new Problem({ status: 401 }));
  state.halfSignedIn = true;
}

/** Signs out, here and in every window of this session. */
export async function leave() {
  await signOut().catch(() => {});
  keepPageKey(null);
  state.halfSignedIn = false;
  meet(new Problem({ status: 401 }));
  changed();
}

/** Asks the broker for one call again; resolves to it, or to null when it is not there. */
export async function refresh(id) {
  try {
    const call = await getCall(id);
    put(call);
    changed();
    return call;
  } catch (problem) {
    if (problem.status === 404) return null;
    meet(problem);
    changed();
    throw problem;
  }
}

/** Marks a call as looked at. */
export function seen(id) {
  if (state.fresh.delete(id)) changed();
}

/** What somebody began to decide, per call and digest: `[draft, change]`. It outlives the card, which a narrower window takes away. */
export function useDraft({ id, digest }) {
  const key = `${id} ${digest}`;
  const [draft, show] = useState(drafts.get(key) ?? NO_DRAFT);
  const change = (part) => {
    const next = { ...NO_DRAFT, ...drafts.get(key), ...part };
    drafts.set(key, next);
    show(next);
  };
  return [draft, change];
}

/** True while the page may send verbs: signed in, connected and in step. */
export const inStep = () => state.sync === "live";

// A refetch waits for a reload that is under way, so that an older list never overwrites a newer call.
function reload() {
  reloading = loadAll();
  return reloading;
}

async function loadAll() {
  const open = await listCalls({ state: OPEN_STATES, limit: 200 });
  const settled = await listCalls({ state: SETTLED_STATES, limit: 50 });
  state.stops = (await listStops()).stops;
  const before = state.calls;
  const waiting = await restOf(open);
  const known = new Map([...settled.calls, ...waiting].map((call) => [call.id, call]));
  state.calls = new Map();
  for (const call of byUrgency([...known.values()])) put({ ...before.get(call.id), ...call });
  await Promise.all([...before.keys()].filter((id) => !known.has(id)).slice(0, TOO_MANY).map(refetch));
  state.cursor = open.cursor;
}

async function restOf(page) {
  const calls = [...page.calls];
  let next = page.next;
  while (next && calls.length < 2_000) {
    const more = await listCalls({ state: OPEN_STATES, limit: 200, after: next });
    calls.push(...more.calls);
    next = more.next;
  }
  return calls;
}

function byUrgency(calls) {
  const due = (call) => (call.state === "lost" ? "9" : call.expires_at ?? call.requested_at);
  return calls.sort((a, b) => (due(a) < due(b) ? -1 : 1));
}

function open() {
  let first = true;
  return follow({
    cursor: state.cursor,
    probe: getMe,
    onEntry: (frame) => (frame.stream === "stops" ? setTimeout(reloadStops, COALESCE) : frame.call && touch(frame.call)),
    onUp: () => {
      if (first) { first = false; return; }
      resync();
    },
    onDown: () => { state.sync = "offline"; changed(); checkSession(); },
    onLostPlace: () => { state.sync = "offline"; },
  });
}

// The verbs stay disabled until the list has been read again: what was on the screen may be long settled.
async function resync() {
  try {
    await reload();
    state.sync = "live";
  } catch (problem) {
    meet(problem);
    if (!state.signedOut) setTimeout(resync, 1_000);
  }
  changed();
}

async function checkSession() {
  try {
    await getMe();
  } catch (problem) {
    if (problem.status === 401) { meet(problem); changed(); }
  }
}

async function reloadStops() {
  try {
    state.stops = (await listStops()).stops;
  } catch (problem) {
    meet(problem);
  }
  changed();
}

function touch(id) {
  dirty.add(id);
  flushTimer ||= setTimeout(flush, COALESCE);
}

async function flush() {
  await reloading.catch(() => {});
  flushTimer = 0;
  const ids = [...dirty];
  dirty.clear();
  if (ids.length > TOO_MANY) return resync();
  await Promise.all(ids.map(refetch));
  changed();
}

async function refetch(id) {
  const isNew = !state.calls.has(id);
  try {
    const call = await getCall(id);
    put(call);
    if (isNew && call.state === "pending") state.fresh.add(id);
  } catch (problem) {
    if (problem.status === 404) state.calls.delete(id);
    else if (problem instanceof Problem && problem.status === 401) meet(problem);
  }
}

function put(call) {
  if (!state.calls.has(call.id) && !state.arrivals.includes(call.id)) state.arrivals.push(call.id);
  state.calls.set(call.id, call);
}

function meet(problem) {
  if (problem.status === 401) {
    state.signedOut = true;
    state.me = null;
    state.stops = [];
    state.calls = new Map();
    state.fresh.clear();
    drafts.clear();
    state.sync = "loading";
    line?.close();
    line = null;
  } else {
    if (state.sync === "live") state.sync = "offline";
    state.error = problem;
  }
}

function changed() {
  for (const listener of [...listeners]) listener();
}
