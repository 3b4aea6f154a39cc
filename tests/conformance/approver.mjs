// A person who approves everything, some time after it began to wait; through the REST API, as a person would.

const LOOK_MS = 20;

export async function openApprover(broker, afterMs) {
  const headers = { authorization: `Bearer ${await broker.addReviewer("ann")}`, "content-type": "application/json" };
  const seen = new Map();
  let open = true;

  const look = async () => {
    const { calls } = await fetch(`${broker.api}/calls?state=pending&limit=200`, { headers }).then((response) => response.json());
    const now = Date.now();
    for (const call of calls) {
      if (!seen.has(call.id)) seen.set(call.id, now);
      if (now - seen.get(call.id) >= afterMs) await approve(call);
    }
  };
  const approve = async ({ id, digest }) => {
    const body = JSON.stringify({ vote: "approve", digest, reason: "approved by the conformance run" });
    const answer = await fetch(`${broker.api}/calls/${id}/reviews`, { method: "POST", headers, body });
    // A call may end by itself in between.
    if (!answer.ok && answer.status !== 409) throw new Error(`${id} was not approved: ${answer.status} ${await answer.text()}`);
  };
  const watch = async () => {
    while (open) {
      await look().catch((error) => { if (open) console.error(`approver: ${error.message}`); });
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  };
  watch();
  return { close() { open = false; } };
}
