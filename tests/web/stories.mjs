// What a reviewer does, told as stories in a real browser. Each takes a `world`: a broker with one sandbox server and an
// agent that calls it. The same stories run on the binary and, while the page is worked on, on the stand-in.

import assert from "node:assert/strict";

const TARGET = "CancelAHORunBatch";
const HOSTILE = {
  html: `<img src=x onerror="document.title='owned'">`, script: "<script>document.title='owned'</script>", rlo: "invoice\u202Efdp.exe", invisible: "pay\u200bpal\u2060.com",
  newlines: "\n".repeat(10_000), unbroken: "x".repeat(30_000), control: "a\u0000b\u001b[31m", tags: "ok\u{E0041}", ["k\u202Eey" + "y".repeat(300)]: true,
};

/** Name → story; each opens its own pages and leaves no call waiting. */
export const stories = {
  async "a parked call appears without a reload, is approved, leaves the list, and has run"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    const row = page.locator(".group", { hasText: "Needs you" }).locator(".row", { hasText: String(batch) });
    await row.locator("time", { hasText: /^\d+ (s|min) left$/ }).waitFor();
    await row.click();
    await page.locator("#card-title", { hasText: TARGET }).waitFor();
    assert.match(await page.title(), /1 waiting/);
    await world.approve(page);
    const text = (await answer).text;
    assert.doesNotMatch(text, /DENIED|NOT EXECUTED/);
    assert.equal(await world.batchState(batch), "CANCELLED");
    await row.waitFor({ state: "detached" });
    await page.locator(".outcome", { hasText: "Ran" }).waitFor();
    await page.locator(".group", { hasText: "Settled today" }).locator(".row", { hasText: String(batch) }).waitFor();
  },

  async "two browsers see the same"(world) {
    const [first, second] = [await world.page(), await world.page({ reviewer: "bo" })];
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    for (const page of [first, second]) await page.locator(".row", { hasText: String(batch) }).click();
    const codes = await Promise.all([first, second].map((page) => page.locator(".code b").textContent()));
    assert.equal(codes[0], codes[1]);
    await world.approve(second);
    await answer;
    await first.locator(".outcome", { hasText: "Ran" }).waitFor();
    await first.locator(".votes", { hasText: "bo approved" }).waitFor();
  },

  async "a denial reaches the agent with its reason"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByLabel("Reason, which the agent reads with a denial").fill("the lab still needs it");
    await page.getByRole("button", { name: "Deny" }).click();
    const told = await answer;
    assert.equal(told.isError, true);
    assert.match(told.text, /\[DENIED by ann\].*the lab still needs it/);
    assert.notEqual(await world.batchState(batch), "CANCELLED");
    await page.locator(".votes", { hasText: "the lab still needs it" }).waitFor();
    await page.locator(".outcome", { hasText: "The agent was told" }).waitFor();
    assert.equal(await page.locator(".outcome .told").textContent(), told.text);
    await page.getByText("Timeline").click();
    const denials = page.locator(".timeline li", { hasText: "Denied by ann" });
    await denials.first().waitFor();
    assert.equal(await denials.count(), 1, "the vote and the denial are one line");
  },

  async "a ticket's words are shown as the agent reads them, while it waits with one"(world) {
    const batch = await world.startBatch();
    const ticket = world.hasty(TARGET, { batch_id: batch });
    const call = await world.callNamed(batch);
    const page = await world.page({ path: `/c/${call.id}` });
    await page.locator(".wait", { hasText: "agent is waiting" }).waitFor();
    assert.equal(await page.locator(".told").count(), 0);
    const { text } = await ticket;
    await page.locator(".why", { hasText: "The agent was told" }).waitFor();
    assert.equal(await page.locator(".told").textContent(), text);
    await page.getByRole("button", { name: "Deny" }).click();
    await page.locator(".outcome", { hasText: "The agent is told this if it asks again" }).waitFor();
    assert.equal((await world.hasty(TARGET, { batch_id: batch })).text, await page.locator(".outcome .told").textContent());
    await page.locator(".outcome", { hasText: "The agent was told" }).waitFor();
  },

  async "the confirmation of a critical call says whether it can still be stopped, as the agent waits"(world) {
    const batch = await world.startBatch();
    // A word of the agent's own, which the server need not read, takes nothing from the tool's name.
    const ticket = world.hasty("PurgeAHORunBatches", { action: "list", batch_id: batch, note: "-- ⟦↵⟧" });
    const call = await world.callNamed(batch);
    const page = await world.page({ path: `/c/${call.id}` });
    assert.equal(await page.locator(".chip", { hasText: "⟦U+27E6⟧" }).count(), 1);
    await page.getByRole("button", { name: "Review and approve" }).click();
    await page.locator(".confirm", { hasText: "Purge AHO run batches: list PurgeAHORunBatches" }).waitFor();
    await page.locator(".confirm", { hasText: "Approved, it is sent at once and cannot be called back." }).waitFor();
    await ticket;
    await page.locator(".confirm", { hasText: "it may run once, when the agent calls again. Until then approval can be withdrawn" }).waitFor();
    await page.getByRole("button", { name: "Back" }).click();
    await page.getByRole("button", { name: "Deny" }).click();
    await page.locator(".state.denied").first().waitFor();
  },

  async "a call that the policy denies says so, and what its agent was told"(world) {
    const batch = await world.startBatch();
    const { text } = await world.call("ListAHORunBatches", { batch_id: batch });
    const call = await world.callNamed(batch);
    const page = await world.page({ path: `/c/${call.id}` });
    await page.locator(".outcome", { hasText: "The agent was told" }).waitFor();
    assert.equal(await page.locator(".outcome .told").textContent(), text);
    await page.locator(".why", { hasText: "Denied by rule /tools/ListAHORunBatches/action" }).waitFor();
  },

  async "the page is out of step while the broker is away, and in step again after"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    world.call(TARGET, { batch_id: batch }).catch(() => {}); // this agent is cut off by the restart
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByRole("button", { name: "Deny" }).waitFor();
    await world.stop();
    await page.locator(".banner", { hasText: "Not connected" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Deny" }).isDisabled(), true);
    await page.keyboard.press("d");
    await world.start();
    await page.locator(".banner").waitFor({ state: "detached" });
    await page.locator(".row", { hasText: String(batch) }).waitFor();
    assert.equal((await world.callNamed(batch)).state, "pending");
    await page.getByRole("button", { name: "Deny" }).click();
    await page.locator(".state.denied").first().waitFor();
    const later = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: later });
    await page.locator(".row", { hasText: String(later) }).click();
    await world.approve(page);
    await answer;
  },

  async "a call's page can be opened by its link and tells its life"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    const call = await world.callNamed(batch);
    const page = await world.page({ path: `/c/${call.id}` });
    await page.locator(".timeline li", { hasText: "Asked for" }).waitFor();
    await page.locator(".facts dd", { hasText: /^MCP 2025-06-18$/ }).waitFor();
    await world.approve(page);
    await answer;
    for (const words of ["Approved by ann", "Sent to the server", "The server answered"]) await page.locator(".timeline li", { hasText: words }).waitFor();
    await page.reload();
    await page.locator(".outcome", { hasText: "Ran" }).waitFor();
    await page.goto(`${world.url()}/history`);
    await page.locator(".rows .row", { hasText: String(batch) }).click();
    await page.locator(".timeline li", { hasText: "Approved by ann" }).waitFor();
  },

  async "hostile values are text with visible code points, and break nothing"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch, ...HOSTILE });
    const call = await world.callNamed(batch);
    const page = await world.page({ path: `/c/${call.id}`, viewport: { width: 360, height: 740 } });
    await page.locator(".arg", { hasText: "onerror" }).waitFor();
    assert.equal(await page.locator("article img, article script").count(), 0);
    for (const point of ["U+202E", "U+200B", "U+2060", "U+0000", "U+001B", "U+E0041"]) await page.locator(".args .chip", { hasText: point }).first().waitFor();
    await fits(page);
    for (const button of await page.locator(".args .more").all()) await button.click({ timeout: 2_000 }).catch(() => {});
    await page.getByRole("button", { name: "Raw" }).first().click();
    await page.locator(".raw", { hasText: "onerror" }).waitFor();
    await fits(page);
    assert.doesNotMatch(await page.title(), /owned/);
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "tabs and line breaks in an argument are marked and alarm nobody, a lone carriage return does"(world) {
    const batch = await world.startBatch();
    const code = "if ok {\r\n\t\trun()\n}\n";
    const answer = world.call(TARGET, { batch_id: batch, code, cr: "rm -rf /\rls", far: "a" + "\t".repeat(40) + "b", "a\tb": 1 });
    const page = await world.page();
    await page.locator(".row", { hasText: String(batch) }).click();
    const arg = (name) => page.locator(".arg", { has: page.locator(".k", { hasText: name }) });
    await arg("code").locator(".chip.soft", { hasText: "⇥" }).first().waitFor();
    assert.equal((await arg("code").locator(".v").textContent()).replace(/[⇥↵]|CRLF/g, "").trim(), code.replaceAll("\r", "").trim());
    assert.equal(await arg("code").locator(".mark.alarm, .chip:not(.soft)").count(), 0);
    await arg("far").locator(".chip.soft", { hasText: "⟦⇥ × 40⟧" }).waitFor();
    await arg("cr").locator(".mark.alarm", { hasText: "hidden characters" }).waitFor();
    await page.locator(".arg .mark.alarm", { hasText: "odd name" }).waitFor();
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "a letter of another alphabet inside a word is marked, and whole words of it are not"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch, content: "p\u0430ypal \u043F\u0430\u043F\u043A\u0430", host: "\u0440\u0430\u0443.com" });
    const page = await world.page();
    await page.locator(".row", { hasText: String(batch) }).click();
    const chips = async (name) => (await page.locator(".arg", { has: page.locator(".k", { hasText: name }) }).locator(".v .chip").allTextContents()).join(" ");
    await page.locator(".arg .mark", { hasText: "mixes alphabets" }).first().waitFor();
    assert.equal(await chips("content"), "⟦\u0430 U+0430⟧");
    assert.equal(await chips("host"), "⟦\u0440 U+0440⟧ ⟦\u0430 U+0430⟧ ⟦\u0443 U+0443⟧");
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "the history searches after a pause in typing, and shows when each call was asked"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await world.callNamed(batch);
    const page = await world.page({ path: "/history" });
    const row = page.locator(".rows .row", { hasText: String(batch) });
    await row.locator("time", { hasText: /^\d\d:\d\d$/ }).waitFor();
    await row.locator(".status", { hasText: "Waiting" }).waitFor();
    await page.getByLabel("Search").pressSequentially("zzznothing");
    await page.locator(".quiet", { hasText: "whole words of arguments" }).waitFor();
    await page.getByLabel("Search").fill(String(batch));
    await row.waitFor();
    await page.goto(world.url());
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "what is sent beside the arguments stands on the card"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch }, { requestState: "from-elsewhere", _meta: { "vendor/note": "n-1" } });
    const page = await world.page();
    await page.locator(".row", { hasText: String(batch) }).click();
    const beside = page.locator(".beside");
    await beside.locator(".mark", { hasText: "unusual" }).waitFor();
    for (const words of ["requestState", "from-elsewhere", "vendor/note", "n-1"]) await beside.locator(".arg", { hasText: words }).first().waitFor();
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "the keyboard alone decides"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).waitFor();
    while (!(await page.locator(".row[aria-current]", { hasText: String(batch) }).count())) await page.keyboard.press("j");
    await page.keyboard.press("r");
    await page.keyboard.type("keys only");
    await page.keyboard.press("Escape");
    await world.afterSettling(page);
    await page.keyboard.press("d");
    assert.match((await answer).text, /keys only/);
  },

  async "keys are deaf for half a second after the card changes under the reviewer"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    // Nothing was open, so the page itself puts the new call under the reviewer's eyes; a key on its way must not hit it.
    await page.locator("#card-title", { hasText: String(batch) }).waitFor();
    await page.keyboard.press("d");
    assert.equal((await world.callNamed(batch)).state, "pending");
    await world.afterSettling(page);
    await page.keyboard.press("d");
    assert.equal((await answer).isError, true);
  },

  async "a phone of 360 px decides, in the dark"(world) {
    const page = await world.page({ viewport: { width: 360, height: 640 }, colorScheme: "dark" });
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByRole("button", { name: "Deny" }).waitFor();
    await fits(page);
    assert.equal(await page.getByRole("button", { name: "Deny" }).evaluate((button) => button.getBoundingClientRect().bottom <= innerHeight), true);
    await world.approve(page);
    await answer;
    await page.locator(".state.completed").waitFor();
    await page.getByRole("link", { name: "Inbox" }).click();
    await page.locator(".row", { hasText: String(batch) }).waitFor();
  },

  async "a call that expires under one's eyes says so and stays"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call("DeleteAHORunBatch", { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.locator(".meta", { hasText: "then it is denied" }).waitFor();
    await page.locator(".state.expired", { hasText: "Expired, so denied; nothing was run" }).waitFor();
    await page.locator("#card-title", { hasText: String(batch) }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Deny" }).count(), 0);
    assert.equal((await answer).isError, true);
  },

  async "stopping an agent denies what it has waiting, and resuming lets it call again"(world) {
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await world.callNamed(batch);
    const page = await world.page({ path: "/agents" });
    await page.getByRole("button", { name: "Stop ci-bot" }).click();
    await page.getByLabel("Reason").fill("it loops");
    await page.locator(".halt").getByRole("button", { name: "Stop ci-bot" }).click();
    assert.match((await answer).text, /\[STOPPED\].*it loops/);
    await page.locator(".halted", { hasText: "it loops" }).waitFor();
    await page.getByRole("button", { name: "Resume ci-bot" }).click();
    await page.getByLabel("Reason").fill("fixed");
    await page.locator(".halt").getByRole("button", { name: "Resume ci-bot" }).click();
    await page.locator(".halted").waitFor({ state: "detached" });
    assert.equal(typeof (await world.batchState(batch)), "string");
  },

  async "a policy whose file has a mistake says so, on a phone too"(world) {
    const mend = await world.breakPolicy();
    const page = await world.page({ path: "/policies", viewport: { width: 360, height: 740 } });
    const mistake = page.locator(".policy .mark", { hasText: "the last good one is in force" });
    for (const until = Date.now() + 10_000; Date.now() < until && !(await mistake.count()); await page.reload()) await page.locator(".policy").first().waitFor();
    await mistake.waitFor();
    await fits(page);
    await mend();
  },

  async "a call that ran into an error is no green one, on its card and in the list"(world) {
    const page = await world.page();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch, unknown: 1 });
    await page.locator(".row", { hasText: String(batch) }).click();
    await world.approve(page);
    assert.equal((await answer).isError, true);
    await page.locator(".state.warn", { hasText: "answered with an error" }).waitFor();
    await page.goto(`${world.url()}/history?q=${batch}`);
    await page.locator(".row .status.warn", { hasText: "answered with an error" }).waitFor();
  },

  async "a one-time link signs in by its button, and only once"(world) {
    const page = await world.page({ signedIn: false });
    const link = world.oneTimeLink;
    await page.goto(link);
    await page.reload();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
    assert.equal(new URL(page.url()).hash, "", "the page's key does not stay in the address");
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
    const other = await world.page({ signedIn: false });
    await other.goto(link);
    await other.getByRole("button", { name: "Sign in" }).click();
    await other.getByRole("heading", { name: "This link does not sign in" }).waitFor();
  },

  async "a browser with the cookie alone is asked to sign in again, and then decides"(world) {
    const page = await world.page({ keyed: false });
    await page.getByRole("alert").filter({ hasText: "Sign in again" }).waitFor();
    await page.getByLabel("Have a reviewer’s token already?").fill(world.reviewerToken);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
    const batch = await world.startBatch();
    const answer = world.call(TARGET, { batch_id: batch });
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.evaluate(() => localStorage.setItem("countersign.x", "another-session"));
    await page.getByRole("button", { name: "Deny" }).click();
    await page.getByRole("alert").filter({ hasText: "Sign in again" }).waitFor();
    assert.equal((await world.callNamed(batch)).state, "pending");
    await page.getByLabel("Have a reviewer’s token already?").fill(world.reviewerToken);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.locator(".row", { hasText: String(batch) }).click();
    await page.getByRole("button", { name: "Deny" }).click();
    await answer;
  },

  async "signing in takes a reviewer's token, and nothing else"(world) {
    const page = await world.page({ signedIn: false });
    await page.getByText("countersign open").waitFor();
    await page.getByLabel("Have a reviewer’s token already?").fill("nonsense");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await page.getByLabel("Have a reviewer’s token already?").fill(world.reviewerToken);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Inbox" }).waitFor();
  },
};

async function fits(page) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `the page is ${over} px wider than the window`);
}
