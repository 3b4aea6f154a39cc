// The sheet behind `?` and the avatar: who is signed in, the keys, and the switch that turns them off.

import { KEYS, keysOff, setKeysOff } from "./keys.js";
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";

export function Help({ me, onClose, onSignOut }) {
  const sheet = useRef(null);
  const [off, setOff] = useState(keysOff());
  useEffect(() => sheet.current?.showModal(), []);
  const toggle = (event) => {
    setKeysOff(!event.target.checked);
    setOff(!event.target.checked);
  };
  return html`<dialog class="sheet" ref=${sheet} onClose=${onClose} aria-labelledby="help-title">
    ${me && html`<p class="who-am-i"><span>Signed in as <b>${me.name}</b><br /><span class="muted">${me.role}${me.groups?.length ? `, of ${me.groups.join(", ")}` : ""}</span></span>
      <button type="button" class="btn small" onClick=${onSignOut}>Sign out</button></p>`}
    <h2 id="help-title">Keys</h2>
    <dl class=${off ? "keys off" : "keys"}>${KEYS.map(([key, does]) => html`<div><dt>${key.split("  ").map((one) => html`<kbd>${one}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
    <label class="switch"><input type="checkbox" checked=${!off} onChange=${toggle} /> One-key shortcuts</label>
    <form method="dialog"><button class="btn">Close</button></form>
  </dialog>`;
}
