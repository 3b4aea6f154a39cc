// The published TypeScript SDK as an agent that uses everything a server has: what the suite's client scenarios want of it.
// The suite starts it with the address of its own server; CONFORMANCE_THROUGH puts the broker in between, CONFORMANCE_GATED
// makes every call wait that long for its approval.

import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openApprover } from "./approver.mjs";
import { openBroker } from "./broker.mjs";

const from = createRequire(join(process.env.CONFORMANCE_HOME, "package.json"));
const { Client, StreamableHTTPClientTransport } = await import(pathToFileURL(from.resolve("@modelcontextprotocol/client")));

const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const isModern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28";
const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const SAMPLES = { string: "x", number: 1, integer: 1, boolean: true, array: [], object: {}, null: null };

const upstream = process.argv.at(-1);
const { CONFORMANCE_THROUGH: through, CONFORMANCE_GATED: gated } = process.env;
const broker = through && await openBroker({ upstream, gated: gated !== undefined, folder: join(through, scenario) }).catch(giveUp);
const approver = broker && gated && await openApprover(broker, Number(gated));
try {
  await useAll(broker ? broker.url : upstream, broker?.token);
} finally {
  approver?.close();
  await broker?.close();
}

/** No broker, no judgement: the suite hides what its client says, so the run is told through a file. */
async function giveUp(error) {
  await mkdir(through, { recursive: true });
  await writeFile(join(through, "failed"), `${scenario}: ${error.message}`);
  process.exit(1);
}

async function useAll(url, token) {
  const capabilities = { roots: {}, sampling: {}, elicitation: { form: { applyDefaults: true } } };
  const client = new Client({ name: "conformance", version: "1" }, { capabilities, versionNegotiation: { mode: isModern ? "auto" : "legacy" } });
  client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: isModern ? { confirmed: true } : {} }));
  client.setRequestHandler("roots/list", () => ({ roots: [] }));
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);
  const can = client.getServerCapabilities() ?? {};
  if (can.tools || scenario === "initialize") await useTools(client);
  if (can.resources) for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
  if (can.prompts) for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
  await transport.terminateSession?.().catch(() => {});
  await client.close();
}

async function useTools(client) {
  const { tools } = await client.listTools();
  const calls = toolCalls ?? tools.map((tool) => ({ name: tool.name, arguments: argumentsFor(tool, tools) }));
  // One tool that cannot be called keeps nobody from the others.
  for (const call of calls) await client.callTool(call).catch((error) => console.error(`${call.name}: ${error.message}`));
}

function argumentsFor({ inputSchema }, tools) {
  const needed = Object.entries(inputSchema.properties ?? {}).filter(([key]) => inputSchema.required?.includes(key));
  const sample = ([key, schema]) => [key, key === "schema" ? tools.find(({ name }) => name === "json_schema_2020_12_tool").inputSchema : SAMPLES[schema.type]];
  return Object.fromEntries(needed.map(sample));
}
