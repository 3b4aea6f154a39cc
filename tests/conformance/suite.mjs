// One run of the published suite; its results by scenario.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const PROGRAM = join(process.env.CONFORMANCE_HOME, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
const CLIENT = fileURLToPath(new URL("client.mjs", import.meta.url));
const STAMP = /-\d{4}-\d\d-\d\dT[\d-]+Z$/;
const LIMIT_MS = 15 * 60 * 1000;

/** What the suite's client scenarios judge that can pass through a broker; an agent's authorization ends at the broker. */
export const CLIENT_SCENARIOS = [
  ["initialize", "2025-11-25"], ["tools_call", "2025-06-18"], ["tools_call", "2025-11-25"], ["tools_call", "2026-07-28"],
  ["elicitation-sep1034-client-defaults", "2025-11-25"], ["sse-retry", "2025-11-25"], ["request-metadata", "2026-07-28"],
  ["sep-2322-client-request-state", "2026-07-28"], ["http-standard-headers", "2026-07-28"], ["http-custom-headers", "2026-07-28"],
  ["http-invalid-tool-headers", "2026-07-28"], ["json-schema-ref-no-deref", "2026-07-28"],
  ["json-schema-2020-12-preservation", "2025-11-25"], ["json-schema-2020-12-preservation", "2026-07-28"],
];

/** Map of scenario to its checks, as the suite wrote them. */
export async function runSuite(set, url, folder) {
  await empty(folder);
  await run(["server", "--url", url, ...set, "-o", folder], folder);
  return readResults(folder, "");
}

/** The same for the client scenarios; with `through` a broker stands between the client and the suite's server. */
export async function runClients(folder, through, gatedMs) {
  await empty(folder);
  const results = [];
  for (const [scenario, version] of CLIENT_SCENARIOS) {
    const place = join(folder, version);
    await mkdir(place, { recursive: true });
    const gated = gatedMs === undefined ? {} : { CONFORMANCE_GATED: String(gatedMs) };
    const env = through ? { CONFORMANCE_THROUGH: join(place, "brokers"), ...gated } : {};
    await run(["client", "--command", `${process.execPath} ${CLIENT}`, "--scenario", scenario, "--spec-version", version, "-o", place], folder, env);
    if (through) await refuseWithoutBroker(join(place, "brokers", "failed"));
  }
  for (const version of new Set(CLIENT_SCENARIOS.map(([, version]) => version))) {
    results.push(...await readResults(join(folder, version), ` (${version})`));
  }
  return new Map(results);
}

async function refuseWithoutBroker(file) {
  const why = await readFile(file, "utf8").catch(() => undefined);
  if (why) throw new Error(`the broker did not start: ${why}`);
}

async function empty(folder) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
}

async function run(args, folder, env = {}) {
  const log = createWriteStream(join(folder, "suite.log"), { flags: "a" });
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    stdio: ["ignore", "pipe", "pipe"], timeout: LIMIT_MS, env: { ...process.env, ...env },
  });
  child.stdout.pipe(log, { end: false });
  child.stderr.pipe(log, { end: false });
  await once(child, "close");
  log.end();
}

async function readResults(folder, suffix) {
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith("checks.json")).sort();
  const read = files.map(async (file) => {
    const path = join(folder, file);
    const name = relative(folder, dirname(path)).replace(STAMP, "").replace(/^server-/, "");
    return [name + suffix, JSON.parse(await readFile(path, "utf8"))];
  });
  const results = new Map(await Promise.all(read));
  if (results.size === 0) throw new Error(`the suite wrote no result; its words are in suite.log of ${folder}`);
  return results;
}
