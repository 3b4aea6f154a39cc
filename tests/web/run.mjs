// Runs the browser's stories. `node run.mjs [--fake] [words of a story's name]`
// On the binary: COUNTERSIGN_BIN, else target/release or target/debug of this repository. Exit code 1 when a story fails.

import { looks } from "./looks.mjs";
import { stories } from "./stories.mjs";
import { openWorld } from "./world.mjs";

const LIMIT = 60_000;
const fake = process.argv.includes("--fake");
const words = process.argv.slice(2).filter((word) => !word.startsWith("--")).join(" ");
const place = fake ? await (await import("./fake-world.mjs")).fakePlace() : await (await import("./broker.mjs")).realPlace();
const world = await openWorld(place);
let failed = 0;

for (const [name, story] of Object.entries({ ...stories, ...looks })) {
  if (!name.includes(words)) continue;
  const started = Date.now();
  try {
    await within(LIMIT, story(world));
    await world.closePages();
    console.log(`ok    ${name} (${Date.now() - started} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(error.stack ?? error).split("\n").slice(0, 12).join("\n      ")}`);
    await world.closePages().catch(() => {});
  }
}
await world.close();
console.log(failed ? `${failed} failed` : "all passed");
process.exitCode = failed ? 1 : 0;

function within(limit, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not done after ${limit / 1000} s`)), limit); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
