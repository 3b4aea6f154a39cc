// The page of one call, for deep links: the same card, with its timeline open.

import { Card } from "../card.js";
import { group, toDo } from "../groups.js";
import { Icon } from "../icons.js";
import { useKeys } from "../keys.js";
import { go } from "../route.js";
import { refresh, seen, useStore } from "../store.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

export function CallPage({ id }) {
  const store = useStore();
  const [missing, setMissing] = useState(false);
  const call = store.calls.get(id);
  const todo = toDo(group(store));
  const next = todo.find((other) => other.id !== id);
  const toNext = () => go(`/c/${encodeURIComponent(next.id)}`);
  useKeys({ Escape: () => (document.activeElement?.matches("input") ? document.activeElement.blur() : go("/")), ...(next ? { j: toNext } : {}) });
  useEffect(() => {
    if (!store.me) return;
    seen(id);
    refresh(id).then((found) => setMissing(!found)).catch(() => {});
  }, [id, !!store.me]);

  return html`<main class="pane" id="content" tabindex="-1">
    <p class="crumb"><a href="/"><${Icon} name="back" size=${16} />Inbox</a>${call && html`<span class="mono">${call.short_code}</span>`}</p>
    ${call ? html`<${Card} call=${call} full next=${next} onNext=${toNext} />`
    : missing ? html`<div class="blank"><p><b>No call has this id.</b><br />It may belong to another broker, or be older than what is kept.</p><p class="mono muted">${id}</p></div>`
    : html`<div class="blank"><div class="ghost"><p class="skeleton pill"></p><p class="skeleton title"></p><p class="skeleton line"></p><p class="skeleton block"></p></div></div>`}
  </main>`;
}
