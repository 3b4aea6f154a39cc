// Runs the suite against the fixture, then against the broker in front of it, and compares check by check.
//
//   --requirements V   one requirement set (2025-11-25, 2026-07-28); may be given twice
//   --suite all        every scenario
//   --spec-version V   what applies to an older version, at that version (2025-03-26, 2025-06-18)
//   --scenario S       one scenario, at the newest version it knows
//   --gated MS         every tools/call waits for a person; one approves after MS milliseconds
//   --client           the client scenarios, with the published TypeScript SDK as the client
//   --wire             no suite: answers compared byte by byte
//   --joined           the suite through /mcp, where a second fixture is joined with the first; with any of the above but the last two
//   --direct           without the broker
//   --keep FOLDER      where results and the broker's log stay
//
// Exit code 1: a check fails directly, or comes out otherwise through the broker and is not in differences.json.

import { mkdtemp, rm, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openApprover } from "./approver.mjs";
import { findBinary, openBroker } from "./broker.mjs";
import { compare, count, explanation, readDifferences } from "./compare.mjs";
import { openFixture } from "./fixture/http.mjs";
import { openNeighbour } from "./joined.mjs";
import { runClients, runSuite } from "./suite.mjs";
import { openDoor } from "./door.mjs";
import { runWire } from "./wire.mjs";

const ALL_SETS = [["--requirements", "2025-11-25"], ["--requirements", "2026-07-28"], ["--suite", "all"]];

const { values } = parseArgs({
  options: {
    requirements: { type: "string", multiple: true, default: [] },
    suite: { type: "string" }, "spec-version": { type: "string" }, scenario: { type: "string" }, gated: { type: "string" }, client: { type: "boolean" }, wire: { type: "boolean" }, joined: { type: "boolean" }, direct: { type: "boolean" }, keep: { type: "string" },
  },
});
if (values.joined && (values.client || values.wire)) throw new Error("--joined is for the suite that judges servers");
const gatedMs = values.gated === undefined ? undefined : Number(values.gated);
const folder = values.keep ?? await mkdtemp(join(tmpdir(), "countersign-conformance-"));
await mkdir(folder, { recursive: true });
if (!values.direct) findBinary();
const explained = await readDifferences();
let bad = 0;
if (values.client) bad += await runAgents();
else if (values.wire) bad += await runWires();
else for (const set of chosen()) bad += await runSet(set);
if (values.keep === undefined) await rm(folder, { recursive: true, force: true });
console.log(bad === 0 ? "no unexplained difference" : `${bad} scenarios fail, or differ without a reason`);
process.exitCode = bad === 0 ? 0 : 1;

function chosen() {
  const sets = values.requirements.map((version) => ["--requirements", version]);
  if (values.suite) sets.push(["--suite", values.suite]);
  if (values["spec-version"]) sets.push(["--suite", "all", "--spec-version", values["spec-version"]]);
  if (values.scenario) sets.push(["--scenario", values.scenario]);
  return sets.length > 0 ? sets : ALL_SETS;
}

async function runSet(set) {
  const place = join(folder, set.at(-1).replaceAll("/", "-"));
  const direct = await withFixture((url) => runSuite(set, url, join(place, "direct")));
  const failing = [...direct].filter(([, checks]) => count(checks).failed > 0);
  console.log(`\n== ${set.join(" ")}: ${total(direct)} directly`);
  for (const [name, checks] of failing) console.log(`FAIL  ${name}  ${words(count(checks))}`);
  if (values.direct) return failing.length;
  const judge = (url) => runSuite(set, url, join(place, "through"));
  const through = await withFixture((upstream) => throughBroker(upstream, place, judge));
  console.log(`== ${set.join(" ")}: ${total(through)} through the broker${values.joined ? " at /mcp" : ""}${gatedMs === undefined ? "" : `, approved after ${gatedMs} ms`}\n`);
  return failing.length + printTable(direct, through);
}

/** What the published client cannot do it cannot do through the broker either: only the difference counts. */
async function runAgents() {
  const direct = await runClients(join(folder, "clients-direct"), false);
  console.log(`\n== client scenarios: ${total(direct)} directly`);
  const through = await runClients(join(folder, "clients-through"), true, gatedMs);
  console.log(`== client scenarios: ${total(through)} through the broker\n`);
  return printTable(direct, through);
}

async function runWires() {
  const look = (url) => runWire(url, gatedMs !== undefined);
  const direct = await withFixture(look);
  const through = await withFixture((upstream) => throughBroker(upstream, folder, look));
  return printTable(direct, through);
}

async function withFixture(use) {
  const server = await openFixture();
  try {
    return await use(`http://localhost:${server.address().port}/mcp`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

async function throughBroker(upstream, place, use) {
  const neighbour = values.joined ? await openNeighbour() : undefined;
  const broker = await openBroker({ upstream, neighbour: neighbour?.url, gated: gatedMs !== undefined, folder: place });
  const door = await openDoor(broker.url, broker.token, values.joined);
  const approver = gatedMs === undefined ? undefined : await openApprover(broker, gatedMs);
  try {
    return await use(door.url);
  } finally {
    approver?.close();
    door.close();
    await broker.close();
    neighbour?.close();
  }
}

/** One line for each scenario, and below it each check that differs; how many scenarios differ without a reason. */
function printTable(direct, through) {
  let unexplained = 0;
  for (const { scenario, differing } of compare(direct, through)) {
    const open = differing.filter((one) => !explanation(explained, scenario, one, { gatedMs, joined: values.joined }));
    if (open.length > 0) unexplained++;
    const mark = differing.length === 0 ? "same" : open.length === 0 ? "said" : "DIFF";
    console.log(`${mark}  ${scenario.padEnd(46)} ${words(count(direct.get(scenario)))} | ${words(count(through.get(scenario)))}`);
    for (const one of differing) {
      const reason = explanation(explained, scenario, one, { gatedMs, joined: values.joined })?.reason ?? one.message ?? "";
      console.log(`        ${one.check} ${one.status}: ${one.direct} directly, ${one.through} through. ${reason}`);
    }
  }
  return unexplained;
}

function total(results) {
  const counts = [...results.values()].map(count);
  const sum = (key) => counts.reduce((all, one) => all + one[key], 0);
  return `${results.size} scenarios, ${sum("passed")} checks passed, ${sum("failed")} failed, ${sum("other")} other`;
}

function words({ passed, failed, other }) {
  if (passed + failed === 0) return `${String(other).padStart(3)} compared`;
  return `${String(passed).padStart(3)} passed ${String(failed).padStart(2)} failed ${String(other).padStart(2)} other`;
}
