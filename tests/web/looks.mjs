// Every page in light and dark, wide and narrow: no serious accessibility issue, nothing wider than the window, and the
// strict policy of the server never had to step in.

import assert from "node:assert/strict";
import axe from "axe-core";

const SIZES = [{ width: 1400, height: 900 }, { width: 360, height: 740 }];

export const looks = Object.fromEntries(["light", "dark"].flatMap((colorScheme) => SIZES.map((viewport) => [
  `every page holds up to axe, ${colorScheme}, ${viewport.width} px`, (world) => inspect(world, { colorScheme, viewport }),
])));

async function inspect(world, look) {
  const batch = await world.startBatch();
  const answer = world.call("CancelAHORunBatch", { batch_id: batch, note: "a\u200bb" });
  const call = await world.callNamed(batch);
  for (const path of ["/", `/c/${call.id}`, "/history", "/agents", "/policies"]) await check(await world.page({ ...look, path }), `${path} ${look.colorScheme}`);
  await check(await world.page({ ...look, signedIn: false }), "sign-in");
  const page = await world.page({ ...look, path: `/c/${call.id}` });
  await page.getByRole("button", { name: "Deny" }).click();
  await answer;
  await page.locator(".state.denied").first().waitFor();
  await check(page, "a settled call");
}

async function check(page, name) {
  await page.locator("h1, h2").first().waitFor();
  await page.waitForLoadState("networkidle");
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(grave.map(({ id, nodes }) => `${name}: ${id} at ${nodes.map((node) => `${node.target} ${node.any[0]?.message ?? ""}`).join(" and ")}`), []);
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${name} is wider than the window`);
}
