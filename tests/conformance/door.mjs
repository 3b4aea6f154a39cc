// The suite cannot send a token. This does it for the suite: a pipe that adds one header and changes nothing else.

import { createServer, request as send } from "node:http";
import { once } from "node:events";

/** Where the suite knocks instead of at `url`. */
export async function openDoor(url, token) {
  const { hostname, port, pathname } = new URL(url);
  const server = createServer((request, response) => {
    const headers = [...request.rawHeaders, "Authorization", `Bearer ${token}`];
    const onward = send({ hostname, port, path: pathname, method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
      answer.on("error", () => response.destroy());
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
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
