// One run of the published suite; its results by scenario.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, readdir, rm } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { once } from "node:events";

const PROGRAM = join(process.env.CONFORMANCE_HOME, "node_modules/@modelcontextprotocol/conformance/dist/index.js");
const STAMP = /-\d{4}-\d\d-\d\dT[\d-]+Z$/;
const LIMIT_MS = 15 * 60 * 1000;

/** Map of scenario to its checks, as the suite wrote them. */
export async function runSuite(set, url, folder) {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const log = createWriteStream(join(folder, "suite.log"));
  const child = spawn(process.execPath, [PROGRAM, "server", "--url", url, ...set, "-o", folder], {
    stdio: ["ignore", "pipe", "pipe"], timeout: LIMIT_MS,
  });
  child.stdout.pipe(log);
  child.stderr.pipe(log);
  await once(child, "exit");
  const results = await readResults(folder);
  if (results.size === 0) throw new Error(`the suite wrote no result:\n${(await readFile(join(folder, "suite.log"), "utf8")).slice(-2000)}`);
  return results;
}

async function readResults(folder) {
  const files = (await readdir(folder, { recursive: true })).filter((file) => file.endsWith("checks.json")).sort();
  const read = files.map(async (file) => {
    const path = join(folder, file);
    const name = relative(folder, dirname(path)).replace(STAMP, "").replace(/^server-/, "");
    return [name, JSON.parse(await readFile(path, "utf8"))];
  });
  return new Map(await Promise.all(read));
}
