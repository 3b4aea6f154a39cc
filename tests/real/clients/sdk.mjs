// The two official TypeScript SDKs as agents: list, read, make the gated call; print what came as one JSON object.
//
//   sdk.mjs v1|v2 '{"url":…,"token":…} or {"command":[…],"env":{…}}, with "mode", "read":[tool,arguments], "gated":…'
//
// Or, with "insist":[tool,arguments,tickets], one call that is made until it brings its answer, see insist.py.
//
// v1 speaks the handshake era only; v2 opens with discovery when its mode is "auto".

const sdks = {
  async v1() {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
    return { Client, StreamableHTTPClientTransport, StdioClientTransport };
  },
  async v2() {
    const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
    const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
    return { Client, StreamableHTTPClientTransport, StdioClientTransport };
  },
};

const [which, text] = process.argv.slice(2);
const job = JSON.parse(text);
const sdk = await sdks[which]();

const options = which === "v2" ? { versionNegotiation: { mode: job.mode } } : {};
const client = new sdk.Client({ name: `typescript-sdk-${which}`, version: "1" }, options);
await client.connect(transport());

const seen = { version: client.getNegotiatedProtocolVersion?.() ?? null };
if (job.insist) seen.attempts = await insist(...job.insist);
seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
for (const step of ["read", "gated"]) {
  if (!job[step]) continue;
  const [name, args] = job[step];
  seen[step] = await client.callTool({ name, arguments: args });
}
console.log(JSON.stringify(seen));
await client.close();

async function insist(name, args, tickets) {
  const attempts = [];
  for (let again = true; again && attempts.length < 12; ) {
    if (attempts.length > 0) await new Promise((resolve) => setTimeout(resolve, 1000));
    const started = Date.now();
    const seconds = () => (Date.now() - started) / 1000;
    try {
      const { text } = (await client.callTool({ name, arguments: args })).content[0];
      attempts.push({ seconds: seconds(), text });
      again = tickets.some((ticket) => text.startsWith(ticket));
    } catch (error) {
      attempts.push({ seconds: seconds(), error: String(error) });
    }
  }
  return attempts;
}

function transport() {
  if (job.url) {
    const headers = { Authorization: `Bearer ${job.token}` };
    return new sdk.StreamableHTTPClientTransport(new URL(job.url), { requestInit: { headers } });
  }
  const [command, ...args] = job.command;
  return new sdk.StdioClientTransport({ command, args, env: job.env, stderr: "ignore" });
}
