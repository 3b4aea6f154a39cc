// The stories' world on the real binary: a broker with the sandbox server behind it, two reviewers and an agent.
// COUNTERSIGN_BIN names the binary; COUNTERSIGN_SANDBOX, a JSON list, another command for the server behind it.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openAgent } from "./agent.mjs";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BATCH = /\b(\d{4,})\b/;
const TOKEN = "story-agent-token-0123456789abcdef";

// Deleting parks for a few seconds only, to be seen expiring.
const POLICY = {
  version: "1", default: "allow",
  tools: {
    CancelAHORunBatch: { action: "require_approval", reason: "Cancels all runs of the batch; ask the lab first." },
    ListAHORunBatches: { action: "deny", reason: "Ask for one batch." },
    DeleteAHORunBatch: { action: "require_approval", reason: "Deletes the batch and its records.", approval: { expires_after: "3s" } },
    PurgeAHORunBatches: { action: "require_approval", reason: "Purges what was deleted.", risk: { class: "destructive", severity: "critical" } },
  },
};

export async function realPlace() {
  const binary = process.env.COUNTERSIGN_BIN ?? ["release", "debug"].map((kind) => join(ROOT, "target", kind, "countersign")).find(existsSync);
  if (!binary) throw new Error("no binary: build it, or name it in COUNTERSIGN_BIN");
  const folder = await mkdtemp(join(tmpdir(), "countersign-web-"));
  const config = join(folder, "countersign.toml");
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  await writeFile(join(folder, "policy.json"), JSON.stringify(POLICY, null, 2));
  await writeFile(config, configText({ binary, folder, port }));
  const cli = async (...args) => JSON.parse((await run(binary, [...args, "--config", config, "--json"])).stdout);

  const used = new Set();
  let child = null;
  let agent = null;
  const log = await open(join(folder, "broker.log"), "a");
  // However this ends, the broker ends with it.
  process.on("exit", () => child?.kill("SIGKILL"));
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));
  const start = async () => {
    child = spawn(binary, ["serve", "--config", config], { stdio: ["ignore", log.fd, log.fd], env: { ...process.env, CI_BOT_TOKEN: TOKEN } });
    await ready(url, child, join(folder, "broker.log"));
    agent = null;
  };
  const stop = async () => {
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  };
  // One session until the broker restarts, which takes the old ones along.
  const call = async (tool, args, beside) => {
    agent ??= openAgent({ url: `${url}/mcp/sandbox`, token: TOKEN }).catch((error) => { agent = null; throw error; });
    return (await agent).call(tool, args, beside);
  };
  // The same call from a client that waits for two seconds only.
  const hasty = async (tool, args) => (await openAgent({ url: `${url}/mcp/sandbox`, token: TOKEN, name: "hasty" })).call(tool, args);
  const api = (path, token) => fetch(`${url}/api/v1/${path}`, { headers: { authorization: `Bearer ${token}` } }).then((response) => response.json());

  await start();
  const people = { ann: await cli("reviewers", "add", "ann", "--groups", "genomics"), bo: await cli("reviewers", "add", "bo", "--groups", "genomics") };
  return {
    reviewerToken: people.ann.token,
    oneTimeLink: people.ann.link,
    url: () => url,
    call,
    hasty,
    start,
    stop,
    // What it gives back mends the file again.
    async breakPolicy() {
      const file = join(folder, "policy.json");
      await writeFile(file, `{ "version": "1", "tools": { "ListAHORunBatches": { "action": "denied" } } }`);
      return () => writeFile(file, JSON.stringify(POLICY, null, 2));
    },
    async signIn(context, reviewer) {
      if (!reviewer) return;
      const answer = await context.request.post(`${url}/api/v1/session`, { headers: { "x-countersign": "1", origin: url }, data: { token: people[reviewer].token } });
      if (!answer.ok()) throw new Error(`sign-in: ${answer.status()} ${await answer.text()}`);
      return (await answer.json()).x;
    },
    async startBatch() {
      // A sandbox that was started anew counts from the beginning; stories tell calls apart by their batch.
      for (;;) {
        const { text } = await call("StartAHORunBatch", { name: `story-${Date.now()}` });
        const batch = BATCH.exec(text)[1];
        if (!used.has(batch)) { used.add(batch); return batch; }
      }
    },
    async batchState(batch) {
      const { text } = await call("GetAHORunBatch", { batch_id: batch });
      return /"status"\s*:\s*"(\w+)"/.exec(text)?.[1] ?? text;
    },
    async findCall(batch) {
      const { calls } = await api("calls?limit=50", people.ann.token);
      return calls.find((one) => one.reason && one.arguments.batch_id === batch);
    },
    async close() {
      await stop();
      await log.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function configText({ binary, folder, port }) {
  return `listen = "127.0.0.1:${port}"
store = "sqlite:${join(folder, "countersign.db")}"
[servers.sandbox]
command = ${process.env.COUNTERSIGN_SANDBOX ?? JSON.stringify([binary, "sandbox"])}
[grants.ci-bot]
token = "env:CI_BOT_TOKEN"
servers = ["sandbox"]
policy = "policy.json"
[mcp.patience]
hasty = 2
`;
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function ready(url, child, log) {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the broker ended with ${child.exitCode}: ${await readFile(log, "utf8")}`);
    const up = await fetch(`${url}/readyz`).then((response) => response.ok, () => false);
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the broker did not get ready in 10 s: ${await readFile(log, "utf8")}`);
}
