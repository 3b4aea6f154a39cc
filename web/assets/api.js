// The REST API as functions. Every failure becomes a `Problem`, so that pages have one kind of error to show.

import { parse } from "./exact.js";
import { keepPageKey, pageKey } from "./pagekey.js";

/** What went wrong, as RFC 9457 says it; `status` 0 means that the broker could not be reached. */
export class Problem extends Error {
  constructor({ status = 0, title = "The broker does not answer", detail = "", type = "", call = null } = {}) {
    super(detail || title);
    Object.assign(this, { status, title, detail, type, call });
  }
}

export const getMe = () => request("GET", "me");
export const signOut = () => request("DELETE", "session");
export const listCalls = (query = {}) => request("GET", `calls${search(query)}`);
export const getCall = (id) => request("GET", `calls/${encodeURIComponent(id)}`);
export const listServers = () => request("GET", "servers");
export const listAgents = () => request("GET", "agents");
export const listStops = () => request("GET", "stops");
export const listPolicies = () => request("GET", "policies");
export const stop = (whom) => request("POST", "stop", whom);
export const resume = (whom) => request("POST", "resume", whom);
export const vote = (call, vote, reason) => act(call.id, "reviews", { vote, digest: call.digest, reason });
export const liftDenial = (call) => act(call.id, "lift", {});
export const cancelCall = (call, reason) => act(call.id, "cancel", { reason });
export const extendCall = (call, by) => act(call.id, "extend", { by });
export const resolveCall = (call, outcome, note) => act(call.id, "resolve", { outcome, note });
export const withdrawVote = (call) => act(call.id, "withdraw", {});

export async function signIn(token) {
  const { x } = await request("POST", "session", { token });
  keepPageKey(x);
}

/** True when the broker will not let this page change anything until somebody signs in again. */
export const lacksPageKey = (problem) => problem instanceof Problem && String(problem.type).endsWith(":page-key");

function act(id, verb, body) {
  return request("POST", `calls/${encodeURIComponent(id)}/${verb}`, body);
}

function search(query) {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") params.set(key, value);
  }
  const text = params.toString();
  return text ? `?${text}` : "";
}

async function request(method, path, body) {
  const options = { method, credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } };
  // The broker changes nothing without this header: no form of another site can set it, and no other origin has the key.
  if (method !== "GET") options.headers["x-countersign"] = pageKey() ?? "none";
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(`/api/v1/${path}`, options);
    text = await response.text();
  } catch {
    throw new Problem();
  }
  const value = parsed(text);
  if (response.ok) return value ?? {};
  throw new Problem({ title: response.statusText || "Refused", ...value, status: response.status });
}

function parsed(text) {
  if (text === "") return null;
  try {
    return parse(text);
  } catch {
    return null;
  }
}
