// Two runs side by side: how often each check came out how.

import { readFile } from "node:fs/promises";

/** `[{scenario, check, gated?, joined?, reason}]`: what the specification or this project's rules explain. */
export async function readDifferences() {
  return JSON.parse(await readFile(new URL("differences.json", import.meta.url), "utf8"));
}

export function count(checks = []) {
  const counts = { passed: 0, failed: 0, other: 0 };
  for (const { status } of checks) counts[{ SUCCESS: "passed", FAILURE: "failed" }[status] ?? "other"]++;
  return counts;
}

/** Every scenario of either run, with the checks whose outcome is not equally often the same. */
export function compare(direct, through) {
  const names = [...new Set([...direct.keys(), ...through.keys()])];
  return names.map((scenario) => ({ scenario, differing: differing(direct.get(scenario) ?? [], through.get(scenario) ?? []) }));
}

/**
 * The entry that explains this difference. `gated` of an entry keeps it to runs where calls wait at least that long, in ms;
 * `joined` to those at /mcp.
 */
export function explanation(explained, scenario, { check }, { gatedMs, joined }) {
  const holds = (one) => (one.gated === undefined || gatedMs >= one.gated) && (!one.joined || joined);
  return explained.find((one) => one.scenario === scenario && one.check === check && holds(one));
}

function differing(direct, through) {
  const [before, after] = [tally(direct), tally(through)];
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  const pairs = keys.map((key) => ({ ...JSON.parse(key), direct: before.get(key) ?? 0, through: after.get(key) ?? 0 }));
  return pairs.filter((pair) => pair.direct !== pair.through).map((pair) => ({ ...pair, message: why(through, pair) }));
}

function tally(checks) {
  const counts = new Map();
  for (const { id, status } of checks) {
    const key = JSON.stringify({ check: id, status });
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

function why(checks, { check, status }) {
  return checks.find((one) => one.id === check && one.status === status)?.errorMessage;
}
