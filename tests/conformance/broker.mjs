// The broker under test: the real binary, the fixture behind it (with `joined` a second one too), one grant.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { NEIGHBOUR, SERVER } from "./joined.mjs";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const TOKEN = "conformance-agent-token-0123456789abcdef";

const ALLOW = { version: "1", default: "allow" };
const GATED = { ...ALLOW, tools: { "*": { action: "require_approval", reason: "Everything is asked about here." } } };

export function findBinary() {
  const built = ["release", "debug"].map((kind) => join(ROOT, "target", kind, "countersign"));
  const binary = process.env.COUNTERSIGN_BIN ?? built.find(existsSync);
  if (!binary) throw new Error("no binary: build it, or name it in COUNTERSIGN_BIN");
  return binary;
}

/** Starts it; `folder` gets its files and its log. `neighbour`: the second server, and all are knocked at together. */
export async function openBroker({ upstream, neighbour, gated, folder }) {
  const binary = findBinary();
  const servers = { [SERVER]: upstream, ...(neighbour && { [NEIGHBOUR]: neighbour }) };
  await mkdir(folder, { recursive: true });
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const config = join(folder, "countersign.toml");
  // Beside the store lies a socket, whose path must be short.
  const store = await mkdtemp(join(tmpdir(), "cs-"));
  await writeFile(join(folder, "policy.json"), JSON.stringify(gated ? GATED : ALLOW, null, 2));
  await writeFile(config, configText({ port, store: join(store, "countersign.db"), servers }));

  const log = await open(join(folder, "broker.log"), "w");
  const child = spawn(binary, ["serve", "--config", config], { stdio: ["ignore", log.fd, log.fd], env: { ...process.env, CONFORMANCE_TOKEN: TOKEN } });
  // However this ends, the broker ends with it.
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  await ready(url, child, join(folder, "broker.log"));
  return {
    url: neighbour ? `${url}/mcp` : `${url}/mcp/${SERVER}`,
    api: `${url}/api/v1`,
    token: TOKEN,
    async addReviewer(name) {
      const { stdout } = await run(binary, ["reviewers", "add", name, "--config", config, "--json"]);
      return JSON.parse(stdout).token;
    },
    async close() {
      process.off("exit", kill);
      if (child.exitCode === null) {
        child.kill("SIGTERM");
        await once(child, "exit");
      }
      await log.close();
      await rm(store, { recursive: true, force: true });
    },
  };
}

function configText({ port, store, servers }) {
  const each = Object.entries(servers).map(([name, url]) => `[servers.${name}]\nurl = "${url}"\n`);
  return `listen = "127.0.0.1:${port}"
store = "sqlite:${store}"
${each.join("")}[grants.suite]
token = "env:CONFORMANCE_TOKEN"
servers = ${JSON.stringify(Object.keys(servers))}
policy = "policy.json"
`;
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

async function ready(url, child, log) {
  for (let tries = 0; tries < 200; tries++) {
    if (child.exitCode !== null) throw new Error(`the broker ended with ${child.exitCode}: ${await readFile(log, "utf8")}`);
    if (await fetch(`${url}/readyz`).then((response) => response.ok, () => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the broker did not get ready in 10 s: ${await readFile(log, "utf8")}`);
}
