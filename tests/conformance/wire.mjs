// What the suite does not look at: the answers themselves. Each exchange is made directly and through the broker; status,
// headers and every byte of the body are compared. Blanked are ids, states and times, which are new each time, and the
// words of an HTTP error, which are those of whoever refused first. Of calls that waited, status and messages are compared:
// whether they come as JSON or as events is the waiting's matter.

import { once } from "node:events";
import { request as send } from "node:http";

const HEADERS = ["content-type", "allow", "cache-control", "x-accel-buffering"];
const LIMIT_MS = 1000;
const JSON_TYPE = { "content-type": "application/json", accept: "application/json, text/event-stream" };
const MODERN = { ...JSON_TYPE, "mcp-protocol-version": "2026-07-28" };
const META = { "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": { elicitation: {}, "x.y/new": [1.0, 1e2] } };

/** Map of exchange to what was seen, in the form of the suite's checks. */
export async function runWire(url, gated) {
  const seen = new Map();
  const knock = async (name, { verb = "POST", headers = JSON_TYPE, body, until } = {}) => {
    const answer = await exchange(url, verb, headers, body, until);
    seen.set(name, gated ? spoken(answer) : checksOf(answer));
    return answer;
  };
  await modern(knock);
  for (const version of ["2025-03-26", "2025-06-18", "2025-11-25"]) await legacy(knock, version, gated);
  return seen;
}

async function modern(knock) {
  const ask = (name, method, params, headers = {}, more = {}) => {
    const mirrored = params?.name ?? params?.uri ?? params?.taskId;
    const named = mirrored === undefined ? {} : { "mcp-name": mirrored };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 7, method, params: { _meta: META, ...params }, ...more.beside });
    return knock(`modern: ${name}`, { headers: prune({ ...MODERN, "mcp-method": method, ...named, ...headers }), body: more.body ?? body, until: more.until });
  };
  // Each call is told apart by its arguments: the same one again would be given the answer of the first.
  const call = (name, params, headers, more) =>
    ask(name, "tools/call", { name: "test_simple_text", arguments: { of: name }, ...params }, headers, more);
  const raw = (id, of = id) => {
    const params = JSON.stringify({ _meta: META, name: "test_simple_text", arguments: { of } });
    return `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params}}`;
  };

  await ask("discover", "server/discover");
  await ask("list", "tools/list");
  await ask("list as events", "tools/list", {}, { accept: "text/event-stream, application/json" });
  await ask("read", "resources/read", { uri: "test://static-binary" });
  await ask("read, unknown", "resources/read", { uri: "test://nothing" });
  await ask("prompt, unknown", "prompts/get", { name: "nothing" });
  await call("call");
  await call("call, a member that nobody knows", { new: { a: [1.0, "ä"] } }, {}, { beside: { extra: true } });
  await call("call, no arguments", { arguments: undefined });
  await call("call, Accept is missing", {}, { accept: undefined });
  await call("call, session and event ids are ignored", {}, { "mcp-session-id": "gone", "last-event-id": "3" });
  await call("call, name in Base64", {}, { "mcp-name": `=?base64?${Buffer.from("test_simple_text").toString("base64")}?=` });
  await call("call, a parameter header that nobody knows", {}, { "mcp-param-new": "x" });
  for (const id of ['"seven"', "9007199254740993", "-0", "7.0", '"\\u0041"']) await call(`call, id ${id}`, {}, {}, { body: raw(id) });
  await call("call, spaces in the message", {}, {}, { body: raw(7, "spaces").replaceAll(",", " ,\t") });
  // The same call again means the thing again, once its answer was read.
  for (const time of ["once", "twice"]) await call(`the same call ${time}`, { name: "count", arguments: {} });
  await call("call, unknown tool", { name: "nothing" });
  await call("call, a tool's name with a space", { name: "no thing" });
  await call("call, no name", { name: undefined }, { "mcp-name": undefined });
  await call("call, arguments are a list", { arguments: [] });
  await call("call, unknown version", { _meta: { ...META, "io.modelcontextprotocol/protocolVersion": "2099-01-01" } }, { "mcp-protocol-version": "2099-01-01" });
  await call("call, no version header", {}, { "mcp-protocol-version": undefined });
  await call("call, another version in the header", {}, { "mcp-protocol-version": "2099-01-01" });
  await call("call, no meta", { _meta: undefined });
  await call("call, no capabilities", { _meta: { ...META, "io.modelcontextprotocol/clientCapabilities": undefined } });
  await call("call, no method header", {}, { "mcp-method": undefined });
  await call("call, another method in the header", {}, { "mcp-method": "tools/list" });
  await call("call, no name header", {}, { "mcp-name": undefined });
  await call("call, needs more than the client has", { name: "test_missing_capability" });
  await call("call, asks for input", { name: "test_input_required_result_request_state" });
  await call("call, as events", { name: "test_tool_with_progress", _meta: { ...META, progressToken: 5 } });
  await call("call, logs", { name: "test_logging_tool", _meta: { ...META, "io.modelcontextprotocol/logLevel": "debug" } });
  await call("call, header parameter", { name: "test_x_mcp_header", arguments: { region: "ä" } }, { "mcp-param-region": "=?base64?w6Q=?=" });
  await call("call, header parameter differs", { name: "test_x_mcp_header", arguments: { region: "a" } }, { "mcp-param-region": "b" });
  await call("call, header parameter is another argument", { name: "test_x_mcp_header", arguments: { region: "a", note: "b" } }, { "mcp-param-region": "b" });
  await ask("task, unknown", "tasks/get", { taskId: "nothing" });
  await ask("listen", "subscriptions/listen", { notifications: { toolsListChanged: true, unknown: true } }, {}, { until: "\n\n" });
  await ask("unknown method", "nothing/at-all");
  await ask("unknown method, no method header", "nothing/at-all", {}, { "mcp-method": undefined });
  await ask("initialize", "initialize");
  await ask("notification", "notifications/cancelled", { requestId: 3 }, {}, { beside: { id: undefined } });
  await ask("unknown notification", "notifications/nothing", {}, {}, { beside: { id: undefined } });
  await ask("no JSON", "tools/list", {}, {}, { body: "{" });
  await ask("no body", "tools/list", {}, {}, { body: "" });
  await ask("a list of requests", "tools/list", {}, {}, { body: `[${raw(7)}]` });
  await ask("no jsonrpc", "tools/list", {}, {}, { beside: { jsonrpc: undefined } });
  for (const verb of ["GET", "DELETE", "PUT", "OPTIONS", "HEAD"]) await knock(`modern: ${verb}`, { verb, headers: MODERN });
}

async function legacy(knock, version, gated) {
  const initialize = { jsonrpc: "2.0", id: 0, method: "initialize", params: { protocolVersion: version, capabilities: {}, clientInfo: { name: "wire", version: "1" } } };
  const { headers } = await knock(`${version}: initialize`, { body: JSON.stringify(initialize) });
  const session = { ...JSON_TYPE, "mcp-session-id": headers["mcp-session-id"], "mcp-protocol-version": version };
  const ask = (name, method, params = {}, more = {}) =>
    knock(`${version}: ${name}`, { headers: prune({ ...session, ...more.headers }), body: more.body ?? JSON.stringify({ jsonrpc: "2.0", id: 7, method, params, ...more.beside }) });
  const call = (name, tool, more) => ask(name, "tools/call", { name: tool, arguments: { of: `${version}: ${name}` } }, more);
  const none = { beside: { id: undefined } };

  await ask("initialized", "notifications/initialized", {}, none);
  await ask("ping", "ping");
  await ask("list", "tools/list");
  await ask("level", "logging/setLevel", { level: "debug" });
  await ask("level, unknown", "logging/setLevel", { level: "loud" });
  await ask("read, unknown", "resources/read", { uri: "test://nothing" });
  await call("call", "test_simple_text");
  for (const time of ["once", "twice"]) await ask(`the same call ${time}`, "tools/call", { name: "count", arguments: {} });
  await call("call, no version header", "test_simple_text", { headers: { "mcp-protocol-version": undefined } });
  await call("call, fails", "test_error_handling");
  await call("call, logs", "test_tool_with_logging");
  await call("call, unknown tool", "nothing");
  await call("call, the client lacks what it needs", "test_sampling");
  // Of a call that waited the broker itself fetches the rest.
  if (version === "2025-11-25" && !gated) await call("call, hangs up", "test_reconnection");
  await call("call, no session", "test_simple_text", { headers: { "mcp-session-id": undefined } });
  await call("call, unknown session", "test_simple_text", { headers: { "mcp-session-id": "nothing" } });
  await call("call without an id", "test_simple_text", none);
  await ask("list, no session", "tools/list", {}, { headers: { "mcp-session-id": undefined } });
  await ask("unknown method", "nothing/at-all");
  await ask("server/discover", "server/discover");
  await ask("unknown notification", "notifications/nothing", {}, none);
  await ask("an answer to nothing", "", {}, { body: '{"jsonrpc":"2.0","id":"ask-99","result":{}}' });
  await ask("no JSON", "", {}, { body: "nothing" });
  const two = [{ jsonrpc: "2.0", id: 1, method: "ping" }, { jsonrpc: "2.0", method: "notifications/nothing" }, { jsonrpc: "2.0", id: 2, method: "ping" }];
  await ask("a list of messages", "", {}, { body: JSON.stringify(two) });
  await ask("an empty list", "", {}, { body: "[]" });
  const stream = { ...session, accept: "text/event-stream" };
  await knock(`${version}: GET, wrong Accept`, { verb: "GET", headers: { ...session, accept: "application/json" } });
  await knock(`${version}: GET, unknown event`, { verb: "GET", headers: { ...stream, "last-event-id": "nothing_1" } });
  await knock(`${version}: GET, no session`, { verb: "GET", headers: prune({ ...stream, "mcp-session-id": undefined }) });
  await knock(`${version}: GET, an ended stream again`, { verb: "GET", headers: { ...stream, "last-event-id": "p1_0" } });
  for (const time of ["once", "twice"]) await knock(`${version}: DELETE ${time}`, { verb: "DELETE", headers: session });
  await ask("list, ended session", "tools/list");
}

/** Ends with the answer, with the words in `until`, or after a while. */
async function exchange(url, verb, headers, body, until) {
  const { hostname, port, pathname } = new URL(url);
  const asking = send({ hostname, port, path: pathname, method: verb, headers, agent: false });
  asking.end(body);
  const [answer] = await once(asking, "response");
  let text = "";
  const timer = setTimeout(() => asking.destroy(), LIMIT_MS);
  try {
    for await (const chunk of answer) {
      text += chunk;
      if (until && text.includes(until)) break;
    }
  } catch (error) {
    text += `<${error.code}>`;
  }
  clearTimeout(timer);
  asking.destroy();
  return { status: answer.statusCode, headers: answer.headers, text };
}

function checksOf({ status, headers, text }) {
  const shown = HEADERS.map((name) => ({ id: name, status: String(headers[name]) }));
  const session = { id: "mcp-session-id", status: headers["mcp-session-id"] ? "there" : "not there" };
  return [{ id: "HTTP status", status: String(status) }, ...shown, session, { id: "body", status: status < 400 ? blanked(text) : refusal(text) }];
}

/** What was said, in which dress ever. */
function spoken({ status, text }) {
  if (status >= 400) return [{ id: "HTTP status", status: String(status) }, { id: "body", status: refusal(text) }];
  const events = text.split("\n").filter((line) => line.startsWith("data: {")).map((line) => line.slice(6));
  const messages = events.length > 0 || !text.startsWith("{") ? events : [text];
  return [{ id: "HTTP status", status: String(status) }, ...messages.map((message) => ({ id: "message", status: blanked(sameId(message)) }))];
}

/** An id is a value: the broker answers with the agent's spelling (7.0), a server in JavaScript with its own (7). */
function sameId(message) {
  return message.replace(/^(\{"jsonrpc":"2\.0","id":)("(?:[^"\\]|\\.)*"|[^,]+)/, (_, before, id) => before + JSON.stringify(JSON.parse(id)));
}

function refusal(text) {
  try {
    const { error } = JSON.parse(text);
    return JSON.stringify({ ...error, message: "WORDS" });
  } catch {
    return "no JSON";
  }
}

function blanked(text) {
  return text
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "UUID")
    .replace(/"requestState":"[^"]*"/g, '"requestState":"STATE"')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME");
}

function prune(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
}
