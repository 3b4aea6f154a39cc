// At /mcp a server's things are named after it; the suite knows them by the server's own names. A client would use the
// names that it was told. This does it for the suite: names on their way up and down, and nothing else of a message.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const SERVER = "fixture";
/** Beside it, with the same things: what is not told apart is found. After it in order of name, for the suite tries what comes first. */
export const NEIGHBOUR = "other";

const MAIN = fileURLToPath(new URL("fixture/main.mjs", import.meta.url));
const NAME = { up: (own) => `${SERVER}__${own}`, of: (server) => `${server}__` };
const URI = { up: (own) => `joined:${SERVER}:${own}`, of: (server) => `joined:${server}:` };

/** What each request names, and how. */
const SUBJECTS = {
  "tools/call": ["name", NAME], "prompts/get": ["name", NAME], "resources/read": ["uri", URI], "resources/subscribe": ["uri", URI],
  "resources/unsubscribe": ["uri", URI], "resources/directory/read": ["uri", URI], "skills/get": ["uri", URI],
};

/** A second fixture, in a process of its own. */
export async function openNeighbour() {
  const child = spawn(process.execPath, [MAIN], { stdio: ["ignore", "pipe", "inherit"] });
  const kill = () => child.kill();
  process.on("exit", kill);
  const [url] = await once(createInterface(child.stdout), "line");
  return {
    url,
    close() {
      process.off("exit", kill);
      kill();
    },
  };
}

/** The client's message with the names of /mcp, in place. */
export function nameUp({ method, params }) {
  if (SUBJECTS[method]) change(params, SUBJECTS[method][0], SUBJECTS[method][1].up);
  if (method === "completion/complete") {
    change(params?.ref, "name", NAME.up);
    change(params?.ref, "uri", URI.up);
  }
  changeAll(params?.notifications, "resourceSubscriptions", URI.up);
}

/** `Mcp-Name`, whatever it says: what differs from the body still does. */
export function headerUp(method, value) {
  const up = SUBJECTS[method]?.[1].up;
  if (!up) return value;
  const packed = /^=\?base64\?(.*)\?=$/.exec(value)?.[1];
  if (packed === undefined) return up(value.trim());
  return `=?base64?${Buffer.from(up(Buffer.from(packed, "base64").toString("utf8"))).toString("base64")}?=`;
}

/** The broker's message with the server's own names, in place. A name that is none of /mcp stays wrong, so that it is seen. */
export function nameDown({ method, params, result, error }) {
  for (const list of ["tools", "prompts"]) for (const one of listed(result, list)) change(one, "name", (name) => down(NAME, name));
  for (const list of ["resources", "contents"]) for (const one of listed(result, list)) change(one, "uri", (uri) => down(URI, uri));
  for (const one of listed(result, "resourceTemplates")) change(one, "uriTemplate", (uri) => down(URI, uri));
  for (const skill of [...listed(result, "skills"), result?.skill]) {
    change(skill, "uri", (uri) => down(URI, uri));
    for (const file of listed(skill, "resources")) change(file, "uri", (uri) => down(URI, uri));
  }
  change(error?.data, "uri", (uri) => down(URI, uri));
  if (method === "notifications/resources/updated") change(params, "uri", (uri) => down(URI, uri));
  changeAll(params?.notifications, "resourceSubscriptions", (uri) => down(URI, uri));
}

function down(kind, name) {
  if (name.startsWith(kind.of(SERVER))) return name.slice(kind.of(SERVER).length);
  return name.startsWith(kind.of(NEIGHBOUR)) ? name : `NOT A NAME OF /mcp: ${name}`;
}

const listed = (object, member) => (Array.isArray(object?.[member]) ? object[member] : []);

function change(object, member, to) {
  if (typeof object?.[member] === "string") object[member] = to(object[member]);
}

function changeAll(object, member, to) {
  if (Array.isArray(object?.[member])) object[member] = object[member].map((one) => (typeof one === "string" ? to(one) : one));
}
