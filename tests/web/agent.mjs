// An agent in a few lines: MCP over streamable HTTP as a client of 2025-06-18 speaks it, with plain fetch.

const VERSION = "2025-06-18";

/** Opens a session; `call(tool, args)` resolves to `{text, isError}` when the answer comes, however long that takes. */
export async function openAgent({ url, token, name = "stories" }) {
  let next = 0;
  let session = null;

  async function post(message) {
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream", authorization: `Bearer ${token}`, "mcp-protocol-version": VERSION };
    if (session) headers["mcp-session-id"] = session;
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(message) });
    session ??= response.headers.get("mcp-session-id");
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response;
  }

  async function ask(method, params) {
    const id = ++next;
    const response = await post({ jsonrpc: "2.0", id, method, params });
    const answer = response.headers.get("content-type")?.includes("event-stream") ? await fromEvents(response, id) : await response.json();
    if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  await ask("initialize", { protocolVersion: VERSION, capabilities: {}, clientInfo: { name, version: "1" } });
  await post({ jsonrpc: "2.0", method: "notifications/initialized" });
  return {
    /** `beside`: further members of `params`. */
    async call(tool, args, beside = {}) {
      const result = await ask("tools/call", { name: tool, arguments: args, ...beside });
      return { text: result.content.map((block) => block.text ?? "").join("\n"), isError: result.isError === true };
    },
  };
}

async function fromEvents(response, id) {
  let buffer = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body) {
    buffer += decoder.decode(chunk, { stream: true });
    const events = buffer.split(/\r?\n\r?\n/);
    buffer = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n").trim();
      const message = data && JSON.parse(data);
      if (message?.id === id && !message.method) return message;
    }
  }
  throw new Error("the stream ended without an answer");
}
