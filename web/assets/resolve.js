// The form for a call that was sent and whose answer never came: a person looks and says what became of it.

import { resolveCall } from "./api.js";
import { html, useState } from "./vendor/preact-htm.js";

export function Resolve({ call, run, busy }) {
  const [note, setNote] = useState("");
  const send = (outcome) => run(() => resolveCall(call, outcome, note));
  return html`<div class="resolve">
    <p>It was sent, and no answer came. Look at the server, then say what became of it: until then the same call needs a review.</p>
    <div class="decide">
      <input class="field" placeholder="What you found" aria-label="What you found" maxlength="2000" value=${note} onInput=${(event) => setNote(event.target.value)} />
      <button type="button" class="btn" disabled=${busy} onClick=${() => send("not_done")}>It was not done</button>
      <button type="button" class="btn" disabled=${busy} onClick=${() => send("done")}>It was done</button>
    </div></div>`;
}
