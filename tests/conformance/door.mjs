// The suite cannot send a token. This does it for the suite: a pipe that adds one header and changes nothing else; at
// /mcp also the names (`joined.mjs`).

import { createServer, request as send } from "node:http";
import { once } from "node:events";
import { headerUp, nameDown, nameUp } from "./joined.mjs";

/** Where the suite knocks instead of at `url`; `joined`: that is /mcp. */
export async function openDoor(url, token, joined = false) {
  const { hostname, port, pathname } = new URL(url);
  const pass = async (request, response) => {
    const asked = joined ? await namedUp(request) : { headers: request.rawHeaders };
    const headers = [...asked.headers, "Authorization", `Bearer ${token}`];
    const onward = send({ hostname, port, path: pathname, method: request.method, headers }, (answer) => {
      answer.on("error", () => response.destroy());
      if (joined) return passNamedDown(answer, response).catch(() => response.destroy());
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    if (joined) onward.end(asked.body);
    else request.pipe(onward);
  };
  const server = createServer((request, response) => {
    pass(request, response).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://localhost:${server.address().port}${pathname}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function namedUp(request) {
  let method;
  const body = renamed(await wholeOf(request), (message) => {
    method = message.method;
    nameUp(message);
  });
  const named = mapHeaders(request.rawHeaders, (name, value) => (name === "mcp-name" ? headerUp(method, value) : value));
  return { headers: sized(named, body), body };
}

async function passNamedDown(answer, response) {
  const kind = answer.headers["content-type"] ?? "";
  if (!kind.startsWith("text/event-stream")) {
    const body = renamed(await wholeOf(answer), nameDown);
    response.writeHead(answer.statusCode, sized(answer.rawHeaders, body));
    return response.end(body);
  }
  response.writeHead(answer.statusCode, answer.rawHeaders);
  response.flushHeaders();
  let rest = "";
  answer.setEncoding("utf8");
  answer.on("data", (part) => {
    const events = (rest + part).split("\n\n");
    rest = events.pop();
    for (const event of events) response.write(`${event.replace(/^data: (\{.*)$/m, (_, data) => `data: ${renamed(data, nameDown)}`)}\n\n`);
  });
  answer.on("end", () => response.end(rest));
}

async function wholeOf(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
}

/** What is no message passes as it is. */
function renamed(text, rename) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return text;
  }
  for (const one of Array.isArray(message) ? message : [message]) if (one !== null && typeof one === "object") rename(one);
  return JSON.stringify(message);
}

function mapHeaders(raw, change) {
  return raw.map((value, at) => (at % 2 === 1 ? change(raw[at - 1].toLowerCase(), value) : value));
}

const sized = (raw, body) => mapHeaders(raw, (name, value) => (name === "content-length" ? String(Buffer.byteLength(body)) : value));
