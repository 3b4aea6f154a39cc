// A stand-in for the broker, for work on the page and for its looks: serves web/ with the real CSP and plays the people's
// API from memory. It proves nothing about the broker; the stories in run.mjs use the real binary.
// `node fake.mjs [--port N] [--empty] [--many N]`

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { ago, ahead, makeCall, sampleCalls } from "./fake-calls.mjs";

const ROOT = join(fileURLToPath(new URL(".", import.meta.url)), "../../web");
export const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";
/** What the page must send with every change. */
export const PAGE_KEY = "k".repeat(43);
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };
const FINAL = new Set(["completed", "denied", "expired", "cancelled", "failed", "lost"]);

/** Starts it; resolves to `{url, broker, close}`. */
export async function startFake({ port = 0, calls = sampleCalls(), signedIn = true, hold = 0 } = {}) {
  const broker = { calls: new Map(calls.map((call) => [call.id, call])), log: [], sockets: new Set(), signedIn, stops: [], role: "reviewer", hold };
  broker.append = (event, call, more = {}) => append(broker, event, call, more);
  broker.park = (given) => { const call = makeCall({ requested_at: ago(0), timeline: [], ...given }); broker.calls.set(call.id, call); append(broker, "submitted", call); return call; };
  const server = createServer((request, response) => serve(broker, request, response).catch((error) => send(response, 500, { title: String(error) })));
  const sockets = new WebSocketServer({ server, path: "/api/v1/live" });
  sockets.on("connection", (socket, request) => {
    const after = new URL(request.url, "http://x").searchParams.get("after");
    broker.log.filter((entry) => after !== null && Number(entry.cursor) > Number(after)).forEach((entry) => socket.send(JSON.stringify(entry)));
    broker.sockets.add(socket);
    socket.on("close", () => broker.sockets.delete(socket));
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = () => new Promise((resolve) => { broker.sockets.forEach((socket) => socket.terminate()); server.closeAllConnections(); server.close(resolve); });
  return { url: `http://127.0.0.1:${server.address().port}`, broker, close };
}

function append(broker, event, call, more) {
  call.timeline?.push({ at: ago(0), event, ...more });
  const entry = { cursor: String(broker.log.length + 1), at: ago(0), stream: `call/${call.id}`, call: call.id, event, ...more };
  broker.log.push(entry);
  broker.sockets.forEach((socket) => socket.send(JSON.stringify(entry)));
}

async function serve(broker, request, response) {
  const url = new URL(request.url, "http://x");
  if (url.pathname.startsWith("/api/v1/")) return api(broker, request, response, url);
  if (url.pathname.startsWith("/assets/")) return file(response, normalize(url.pathname));
  if (url.pathname.startsWith("/login/")) {
    if (request.method !== "POST") return file(response, "/login.html");
    if (broker.spent) return file(response, "/login-failed.html", 410);
    broker.spent = true;
    response.writeHead(303, { location: `/#x=${PAGE_KEY}`, "set-cookie": "who=ann; Path=/; HttpOnly; SameSite=Strict" });
    return response.end();
  }
  return file(response, "/index.html");
}

async function file(response, path, status = 200) {
  try {
    const body = await readFile(join(ROOT, path));
    response.writeHead(status, { "content-type": TYPES[extname(path)] ?? "text/plain", "content-security-policy": CSP, "x-content-type-options": "nosniff", "cache-control": "no-cache" });
    response.end(body);
  } catch {
    response.writeHead(404).end();
  }
}

async function api(broker, request, response, url) {
  const parts = url.pathname.slice("/api/v1/".length).split("/");
  const body = request.method === "POST" ? JSON.parse((await text(request)) || "{}") : null;
  if (body && parts[0] !== "session" && request.headers["x-countersign"] !== PAGE_KEY) return send(response, 403, { type: "urn:countersign:problem:page-key", title: "Sign in again", detail: "the page's key is missing" });
  const who = /who=(\w+)/.exec(request.headers.cookie ?? "")?.[1] ?? (broker.people ? null : broker.signedIn ? "ann" : null);
  if (parts[0] === "session" && request.method === "DELETE") { broker.signedIn = false; response.setHeader("set-cookie", "who=; Path=/; Max-Age=0"); return send(response, 200, {}); }
  if (parts[0] === "session") {
    if (body.token !== "good") return send(response, 401, { title: "Unauthorized", detail: "not a reviewer's token" });
    broker.signedIn = true;
    response.setHeader("set-cookie", "who=ann; Path=/; HttpOnly; SameSite=Strict");
    return send(response, 200, { name: "ann", groups: ["genomics", "ops"], role: broker.role, x: PAGE_KEY });
  }
  if (!who) return send(response, 401, { type: "about:blank", title: "Not signed in", status: 401 });
  if (broker.hold) await new Promise((resolve) => setTimeout(resolve, broker.hold));
  if (parts[0] === "me") return send(response, 200, { name: who, groups: ["genomics", "ops"], role: broker.role });
  if (parts[0] === "calls" && parts[1]) return one(broker, response, broker.calls.get(decodeURIComponent(parts[1])), parts[2], body, who);
  if (parts[0] === "calls") return send(response, 200, list(broker, url.searchParams));
  if (parts[0] === "stop") { broker.stops.push({ ...body, by: who, at: ago(0) }); halt(broker, body); return send(response, 200, {}); }
  if (parts[0] === "resume") { const key = Object.keys(body)[0]; broker.stops = broker.stops.filter((entry) => entry[key] !== body[key]); return send(response, 200, {}); }
  const lists = { stops: { stops: broker.stops }, servers: { servers: SERVERS }, agents: { agents: AGENTS }, policies: { policies: POLICIES } };
  return lists[parts[0]] ? send(response, 200, lists[parts[0]]) : send(response, 404, { title: "Not found" });
}

function list(broker, params) {
  const states = params.get("state")?.split(",");
  const same = (key, call) => !params.get(key) || call[key] === params.get(key);
  const all = [...broker.calls.values()].filter((call) => (!states || states.includes(call.state)) && ["agent", "server", "tool"].every((key) => same(key, call))
    && (!params.get("q") || JSON.stringify(call).includes(params.get("q"))) && (!params.get("reviewer") || call.reviews.some((review) => review.reviewer === params.get("reviewer"))));
  all.sort((a, b) => (a.requested_at < b.requested_at ? 1 : -1));
  const [from, limit] = [Number(params.get("after") ?? 0), Number(params.get("limit") ?? 50)];
  const calls = all.slice(from, from + limit).map(({ timeline, outcome, card, arguments_raw, other_raw, ...call }) => call);
  return { calls, next: from + limit < all.length ? String(from + limit) : null, cursor: String(broker.log.length) };
}

function one(broker, response, call, verb, body, who) {
  if (!call) return send(response, 404, { title: "No such call" });
  if (!verb) return send(response, 200, call);
  if (FINAL.has(call.state) && verb !== "resolve") return send(response, 409, { title: "Already settled", detail: `${call.settled_by ?? "Somebody"} settled this at ${call.settled_at}.`, call: call.id });
  const handlers = { reviews: review, cancel: () => settle(broker, call, "cancelled", "ann"), extend: () => { call.expires_at = new Date(Date.parse(call.expires_at) + 300_000).toISOString(); broker.append("extended", call, { by: "ann" }); },
    resolve: () => { call.resolved = body.outcome; broker.append("resolved", call, { by: "ann", outcome: body.outcome, text: body.note }); }, withdraw: () => { call.reviews = []; call.state = "pending"; call.can_vote = true; call.expires_at ??= ahead(600); call.quorums[0].have = 0; broker.append("vote_withdrawn", call, { by: "ann" }); } };
  if (body.digest && body.digest !== call.digest) return send(response, 409, { title: "The call has changed", detail: "The digest is not the one that was shown." });
  handlers[verb](broker, call, body, who);
  return send(response, 200, call);
}

function halt(broker, whom) {
  const hit = [...broker.calls.values()].filter((call) => ["pending", "permitted"].includes(call.state) && (whom.all || call.agent === whom.agent || call.server === whom.server));
  for (const call of hit) { call.told = `[STOPPED] ${whom.reason}`; call.outcome = { state: "denied", text: whom.reason, is_error: true }; settle(broker, call, "denied"); }
}

function review(broker, call, body, who) {
  call.reviews = [...call.reviews, { reviewer: who, groups: ["genomics"], vote: body.vote, at: ago(0), reason: body.reason || undefined }];
  call.can_vote = false;
  call.can_vote_why = "You have voted.";
  broker.append("voted", call, { by: who, vote: body.vote, text: body.reason || undefined });
  if (body.vote === "deny") { call.told = `[DENIED by ${who}] ${body.reason || "No reason was given."}`; call.outcome = { state: "denied", text: body.reason || undefined, is_error: true }; return settle(broker, call, "denied", who); }
  call.quorums[0].have++;
  if (call.quorums[0].have < call.quorums[0].approvals) return;
  call.state = "permitted";
  broker.append("permitted", call);
  if (call.waiting !== "line") { call.use_by = ahead(900); return; }
  call.state = "dispatched";
  broker.append("dispatched", call);
  setTimeout(() => { call.outcome = { state: "completed", bytes: 40, duration_ms: 412, is_error: "unknown" in call.arguments, answer_raw: `{"content":[{"type":"text","text":"Cancelled 4 runs."}]}` }; settle(broker, call, "completed"); }, 400);
}

function settle(broker, call, state, by) {
  Object.assign(call, { state, settled_at: ago(0), settled_by: by, can_vote: false, waiting: "false", expires_at: undefined });
  broker.append(state, call, by ? { by } : {});
}

function send(response, status, body) {
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json", "content-security-policy": CSP });
  response.end(JSON.stringify(status < 400 ? body : { type: "about:blank", status, ...body }));
}

async function text(request) {
  let out = "";
  for await (const chunk of request) out += chunk;
  return out;
}

const SERVERS = [
  { name: "healthomics", kind: "stdio", identity: '["uvx","awslabs.aws-healthomics-mcp-server"]', state: "running", grants: ["ci-bot", "lab"] },
  { name: "valkey", kind: "stdio", identity: '["uvx","--with","a b","awslabs.valkey-mcp-server"]', state: "idle", grants: ["ops-helper"] },
  { name: "search", kind: "http", identity: "https://search.example/mcp", state: "unreachable", grants: [], sign_in: { state: "needed", missing: ["files:write"] } },
];
const AGENTS = [
  { name: "ci-bot", owner: "ann", servers: ["healthomics"], source: "config", last_seen: ago(30) },
  { name: "ops-helper", owner: "bo", servers: ["valkey"], source: "store", last_seen: ago(5400) },
  { name: "etl-agent", servers: ["dataprocessing"], source: "store" },
];
const POLICIES = [
  { name: "aws-healthomics.json", digest: "sha256:9f2c4a7be1", grants: ["ci-bot"], servers: ["healthomics"], text: `{\n  "version": 1,\n  "default": "allow",\n  "hide": ["DeleteAHORunBatch"],\n  "tools": {\n    "CancelAHORunBatch": { "action": "require_approval", "reason": "Cancels all runs of the batch; ask the lab first." }\n  }\n}\n` },
  { name: "valkey.json", digest: "sha256:77aa10c3d2", grants: [], servers: ["valkey"], error: "line 14, column 9: unknown operator \"matches\"; did you mean \"regex\"?", text: `{ "version": 1, "default": "deny" }\n` },
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flag = (name) => { const at = process.argv.indexOf(name); return at > 0 ? process.argv[at + 1] ?? true : undefined; };
  const calls = process.argv.includes("--empty") ? [] : sampleCalls();
  for (let i = 0; i < Number(flag("--many") ?? 0); i++) calls.push(makeCall({ severity: "low", arguments: { batch_id: 2000000 + i } }));
  console.log((await startFake({ port: Number(flag("--port") ?? 0), calls })).url);
}
