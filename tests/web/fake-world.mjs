// The stories' world on the stand-in server, for work on the page when there is no binary.

import { PAGE_KEY, startFake } from "./fake.mjs";
import { ago, ahead } from "./fake-calls.mjs";

export async function fakePlace() {
  let fake = await startFake({ calls: [] });
  let next = 5_000_000;
  const batches = new Map();
  const broker = () => fake.broker;

  async function ended(call) {
    while (!["completed", "denied", "expired"].includes(call.state)) await new Promise((resolve) => setTimeout(resolve, 30));
    if (call.state === "completed") batches.set(call.arguments.batch_id, "CANCELLED");
    broker().append("delivered", call, { how: "line" });
    return { text: call.told ?? call.outcome?.text ?? "Cancelled 4 runs.", isError: call.state !== "completed" || call.outcome.is_error };
  }

  return {
    reviewerToken: "good",
    oneTimeLink: `${fake.url}/login/once`,
    url: () => fake.url,
    async signIn(context, reviewer) {
      broker().people = true;
      if (reviewer) await context.addCookies([{ name: "who", value: reviewer, url: fake.url }]);
      return PAGE_KEY;
    },
    // One of its files has a mistake always.
    breakPolicy: async () => async () => {},
    async startBatch() { batches.set(++next, "RUNNING"); return next; },
    batchState: async (batch) => batches.get(batch),
    findCall: async (batch) => [...broker().calls.values()].find((call) => call.arguments.batch_id === batch),
    async call(tool, args, beside) {
      const call = broker().park({ tool, arguments: args, other: !!beside, other_raw: beside ? JSON.stringify(beside) : null, expires_at: tool === "DeleteAHORunBatch" ? ahead(2) : ahead(600) });
      if (tool === "ListAHORunBatches") Object.assign(call, { state: "denied", told: "[POLICY DENIED] Ask for one batch.", rule: "/tools/ListAHORunBatches/action", settled_by: "the policy", quorums: [], can_vote: false, outcome: { state: "denied" } });
      if (tool === "DeleteAHORunBatch") setTimeout(() => { call.outcome = { state: "expired", text: "nobody decided", is_error: true }; Object.assign(call, { state: "expired", can_vote: false, settled_at: ago(0) }); broker().append("expired", call); }, 2_000);
      return ended(call);
    },
    async hasty(tool, args) {
      const before = [...broker().calls.values()].find((call) => call.arguments.batch_id === args.batch_id);
      if (before) { broker().append("delivered", before, { how: "recall" }); return { text: before.told, isError: true }; }
      const call = broker().park({ tool, arguments: args, ...(tool === "PurgeAHORunBatches" ? { severity: "critical", class: "destructive" } : {}) });
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      Object.assign(call, { waiting: "ticket", told: `[NOT EXECUTED: waiting for approval ${call.short_code}] Call again.` });
      broker().append("detached", call, { how: "ticket" });
      return { text: call.told, isError: true };
    },
    async stop() { await fake.close(); },
    async start() {
      const port = Number(new URL(fake.url).port);
      fake = await startFake({ port, calls: [...fake.broker.calls.values()] });
      fake.broker.people = true;
    },
    close: () => fake.close(),
  };
}
