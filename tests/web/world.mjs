// The browser's half of a world: pages signed in as a reviewer, and the acts that several stories share. What a broker and
// an agent are is given by `broker.mjs` (the binary) or `fake-world.mjs` (the stand-in).

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];
const PATIENCE = 15_000;

/** Starts the browser; `place` has url, signIn (resolves to the page's key), call, startBatch, batchState, findCall, start, stop, reviewerToken. */
export async function openWorld(place) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  const contexts = [];
  const complaints = [];
  return {
    ...place,
    complaints,
    async page({ reviewer = "ann", path = "/", signedIn = true, keyed = true, viewport = { width: 1400, height: 900 }, colorScheme = "light" } = {}) {
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce", baseURL: place.url() });
      contexts.push(context);
      context.setDefaultTimeout(PATIENCE);
      const page = await context.newPage();
      page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
      page.on("console", (message) => /Content Security Policy|Trusted/i.test(message.text()) && complaints.push(message.text()));
      const key = await place.signIn(context, signedIn ? reviewer : null);
      if (signedIn && keyed) await context.addInitScript((x) => localStorage.setItem("countersign.x", x), key);
      await page.goto(path);
      if (!keyed) return page;
      if (signedIn) await page.locator(".me").waitFor({ state: "attached" });
      return page;
    },
    /** Presses what approves, whatever the severity asks for. */
    async approve(page) {
      await page.locator(".btn.go").click();
      const second = page.locator(".confirm .btn.danger");
      const done = page.locator(".standing");
      await second.or(done).first().waitFor();
      if (await second.count()) await second.click();
    },
    /** Waits until one-key shortcuts listen again after the card moved. */
    afterSettling: (page) => page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 600))),
    /** The open call whose arguments name this batch, as soon as the broker has it. */
    async callNamed(batch) {
      const until = Date.now() + PATIENCE;
      for (;;) {
        const call = await place.findCall(batch);
        if (call) return call;
        assert.ok(Date.now() < until, `no call names batch ${batch}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    },
    async closePages() {
      await Promise.all(contexts.splice(0).map((context) => context.close()));
      assert.deepEqual(complaints.splice(0), []);
    },
    async close() {
      await browser.close();
      await place.close();
    },
  };
}
