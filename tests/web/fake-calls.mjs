// Made-up calls for the stand-in server: one of each state, and the hostile ones.

import { createHash, randomUUID } from "node:crypto";

const CODE = "23456789ABCDEFGHJKLMNPQRSTVWXYZ";

export const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();
export const ahead = (seconds) => ago(-seconds);

/** A call with its detail fields; `given` overrides anything. */
export function makeCall(given = {}) {
  const id = given.id ?? randomUUID();
  const hash = createHash("sha256").update(`${id}${given.round ?? 1}`).digest();
  const requested = given.requested_at ?? ago(180);
  const raw = given.arguments_raw ?? JSON.stringify(given.arguments ?? {});
  return {
    id, server: "healthomics", tool: "CancelAHORunBatch", agent: "ci-bot", owner: "ann", client: { name: "claude-code", version: "2.1.4" }, session: "s-7f3a91", era: "legacy", protocol: "2025-06-18",
    state: "pending", digest: `sha256:${hash.toString("hex")}`, short_code: [...hash.subarray(0, 6)].map((byte) => CODE[byte % CODE.length]).join(""),
    reason: "Cancels all runs of the batch; ask the lab first.", rule: "/tools/CancelAHORunBatch", requested_at: requested, expires_at: ahead(702), waiting: "line", round: 1,
    reviews: [], quorums: [{ approvals: 1, have: 0 }], can_vote: true,
    timeline: [{ at: requested, event: "submitted" }, { at: requested, event: "attached", text: "on the line" }], card: null,
    ...given, arguments: given.arguments ?? JSON.parse(raw), arguments_raw: raw,
  };
}

function settled(given, seconds) {
  const at = ago(seconds);
  const by = given.settled_by ?? null;
  const timeline = [{ at: ago(seconds + 190), event: "submitted" }, { at: ago(seconds + 190), event: "attached", text: "on the line" }];
  if (given.state === "completed") timeline.push({ at: ago(seconds + 4), event: "voted", by: "ann", vote: "approve" }, { at: ago(seconds + 4), event: "permitted" }, { at: ago(seconds + 3), event: "dispatched" });
  timeline.push({ at, event: given.state, ...(by ? { by } : {}) });
  if (given.state === "completed") timeline.push({ at, event: "delivered", text: "on the line" });
  return makeCall({ requested_at: ago(seconds + 190), settled_at: at, expires_at: undefined, waiting: "false", can_vote: false, timeline, ...given });
}

const EVIL = `<img src=x onerror="document.title='owned'">`;

export function sampleCalls() {
  return [
    makeCall({ severity: "critical", class: "destructive", arguments_raw: `{"batch_id": 1000001, "aws_region": "us-east-1", "aws_profile": "prod\u200b"}` }),
    makeCall({ severity: "high", class: "destructive", server: "dataprocessing", tool: "manage_aws_glue_databases", agent: "etl-agent", reason: "Deleting a Glue database takes its tables along.", rule: "/tools/manage_aws_glue_databases/require/0", expires_at: ahead(245), requested_at: ago(640), waiting: "ticket",
      arguments: { operation: "delete-database", database_name: "sales", catalog_id: "123456789012", parameters: { force: true, retries: 3, notify: ["ops@example.com", "sales@example.com"], window: { start: "02:00", end: null } } } }),
    makeCall({ severity: "critical", class: "destructive", server: "valkey", tool: "flushall", agent: "ops-helper", reason: "Empties the whole cache.", quorums: [{ group: "ops", approvals: 2, have: 1 }], expires_at: ahead(1630), can_vote: false, can_vote_why: "You approved this; one more of ops is needed.",
      reviews: [{ reviewer: "ann", groups: ["ops"], vote: "approve", at: ago(40), reason: "window agreed with the team" }], arguments: {} }),
    makeCall({ severity: "medium", class: "write", server: "eks", tool: "scale_deployment", agent: "deploy-bot", state: "permitted", waiting: "gone", use_by: ahead(560), expires_at: undefined, can_vote: false, reason: "Scaling to zero stops the service.", arguments: { cluster: "prod-1", namespace: "shop", name: "web", replicas: 0 },
      reviews: [{ reviewer: "bo", groups: ["ops"], vote: "approve", at: ago(60) }], quorums: [{ approvals: 1, have: 1 }] }),
    makeCall({ severity: "low", class: "write", tool: "StartAHORunBatch", reason: "Starting costs money.", expires_at: ahead(48), requested_at: ago(850), arguments: { batch_name: "nightly-8", runs: 12 } }),
    makeCall({ agent: EVIL, tool: "shell_exec", server: "sandbox", reason: `Looks odd: ${EVIL}`, rule: "/default", expires_at: ahead(900), requested_at: ago(20),
      arguments: { command: "rm -rf /tmp/\u202Etxt.exe\u202C", html: EVIL, invisible: "pay\u200bpal\u2060.com\ufeff", homoglyph: "pаypal.com", newlines: "\n".repeat(10000), long: "A".repeat(20000), script: Array.from({ length: 400 }, (_, i) => `echo ${i}`).join("\n"), zalgo: "Z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309", tags: "ok\u{E0041}\u{E0042}", nul: "a\u0000b\u001b[31m", unbroken: "x".repeat(500), ["__proto__x" + "k".repeat(120)]: 1, "a\u202Eb": true, empty: "", spaces: "  two  ", looks: "1000001" } }),
    settled({ severity: "low", class: "write", tool: "StartAHORunBatch", state: "completed", arguments: { batch_name: "nightly-7", runs: 12 }, reviews: [{ reviewer: "ann", groups: ["genomics"], vote: "approve", at: ago(3604) }],
      outcome: { state: "completed", is_error: false, bytes: 148, duration_ms: 1180, answer_raw: JSON.stringify({ content: [{ type: "text", text: JSON.stringify({ batchId: 1000000, status: "STARTED", runs: 12 }) }], isError: false }) } }, 3600),
    settled({ severity: "medium", class: "write", server: "eks", tool: "scale_deployment", agent: "deploy-bot", state: "denied", settled_by: "ann", arguments: { cluster: "prod-1", name: "web", replicas: 0 }, outcome: { state: "denied", text: "still needed" }, reviews: [{ reviewer: "ann", groups: ["ops"], vote: "deny", at: ago(2400), reason: "still needed" }] }, 2400),
    settled({ severity: "critical", class: "destructive", state: "completed", arguments: { batch_id: 1000000, aws_region: "us-east-1" }, reviews: [{ reviewer: "bo", groups: ["genomics"], vote: "approve", at: ago(90000) }], outcome: { state: "completed", is_error: false, bytes: 40, duration_ms: 1100, answer_raw: `{"content":[{"type":"text","text":"Cancelled 4 runs."}]}` } }, 90000),
    settled({ severity: "critical", class: "destructive", state: "expired", arguments: { batch_id: 999871 }, outcome: { state: "expired",  } }, 172800),
    makeCall({ severity: "high", class: "destructive", server: "stepfunctions", tool: "invoice_run", agent: "billing", state: "lost", can_vote: false, waiting: "false", settled_at: ago(300), expires_at: undefined, arguments: { month: "2026-10" }, outcome: { state: "lost", text: "the broker restarted" }, timeline: [{ at: ago(900), event: "submitted" }, { at: ago(330), event: "permitted" }, { at: ago(330), event: "dispatched" }, { at: ago(300), event: "lost" }] }),
  ];
}
