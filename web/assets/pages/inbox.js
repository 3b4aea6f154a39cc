// The inbox: the list of what waits, and the card of the one that is looked at.

import { Card } from "../card.js";
import { group, lastActivity, toDo, unknownCount, waitingCount } from "../groups.js";
import { Icon } from "../icons.js";
import { settle, useKeys } from "../keys.js";
import { Row } from "../row.js";
import { go } from "../route.js";
import { refresh, seen, useStore } from "../store.js";
import { Ago } from "../time.js";
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";

const FIRST = 60;
const wide = matchMedia("(min-width: 901px)");

export function Inbox() {
  const store = useStore();
  const [filter, setFilter] = useState("");
  const [shown, setShown] = useState(FIRST);
  const [chosen, setChosen] = useState(() => decodeURIComponent(location.hash.slice(1)) || null);
  const search = useRef(null);
  const groups = group(store, filter);
  const rows = groups.flatMap((entry) => entry.calls.slice(0, shown));
  const isWide = useWide();
  const selected = isWide ? store.calls.get(chosen) ?? null : null;
  const todo = toDo(groups);
  const anyOpen = groups.some((entry) => entry.key !== "settled");
  const next = todo.find((call) => call.id !== selected?.id);

  const select = (call) => {
    setChosen(call.id);
    history.replaceState(null, "", `/#${encodeURIComponent(call.id)}`);
  };
  const open = (call) => {
    seen(call.id);
    if (wide.matches) select(call);
    else go(`/c/${encodeURIComponent(call.id)}`);
  };
  const step = (by) => {
    const at = rows.findIndex((call) => call.id === (isWide ? selected?.id : document.activeElement?.dataset?.call));
    const call = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
    if (!call) return;
    if (isWide) select(call);
    const row = document.querySelector(`[data-call="${CSS.escape(call.id)}"]`);
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  };
  useKeys({
    j: () => step(1), k: () => step(-1), "/": () => search.current?.focus(),
    Enter: () => document.getElementById("card-title")?.focus(),
    Escape: () => { if (document.activeElement === search.current) { setFilter(""); search.current.blur(); } else document.activeElement?.blur?.(); },
  });

  // With nothing chosen, the first that needs this reviewer: chosen by the page, so the keys are deaf for a moment.
  useEffect(() => {
    if (!isWide || selected || store.sync === "loading" || !anyOpen) return;
    settle();
    setChosen((todo[0] ?? rows[0]).id);
  }, [isWide, !!selected, store.sync, anyOpen]);
  useEffect(() => {
    if (!selected) return;
    seen(selected.id);
    if (!selected.timeline) refresh(selected.id).catch(() => {});
  }, [selected?.id, selected && !selected.timeline]);
  useEffect(settle, [selected?.digest, selected?.can_vote]);

  const toNext = () => { select(next); document.querySelector(`[data-call="${CSS.escape(next.id)}"]`)?.focus(); };
  return html`<div class="list" aria-label="Calls" role="region">
      <header><h1>Inbox <span>${summary(store)}</span></h1>
        <input ref=${search} class="search" type="search" placeholder="Filter by tool, agent, server" aria-label="Filter" aria-keyshortcuts="/" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
        <${Arrived} store=${store} onShow=${open} /></header>
      ${store.sync === "loading" && !rows.length ? html`<${Skeleton} />`
      : html`${!anyOpen && (!isWide || rows.length > 0 || filter) && html`<${Quiet} store=${store} filter=${filter} slim=${rows.length > 0} />`}
        ${groups.map((entry) => html`<section class="group" key=${entry.key}><h2>${entry.title}<span>${entry.calls.length}</span></h2>
          ${entry.calls.slice(0, shown).map((call) => html`<${Row} key=${call.id} call=${call} selected=${call.id === selected?.id} fresh=${store.fresh.has(call.id)} onOpen=${open} />`)}
          ${entry.calls.length > shown && html`<p class="tail"><button type="button" class="more" onClick=${() => setShown(shown + FIRST)}>${entry.calls.length - shown} more</button></p>`}</section>`)}`}
    </div>
    ${isWide && html`<main class="pane" id="content" tabindex="-1">${selected ? html`<${Card} call=${selected} next=${next} onNext=${toNext} />` : store.sync === "loading" ? html`<${Blank} />` : html`<${Quiet} store=${store} filter="" />`}</main>`}`;
}

function useWide() {
  const [matches, set] = useState(wide.matches);
  useEffect(() => {
    const listener = () => set(wide.matches);
    wide.addEventListener("change", listener);
    return () => wide.removeEventListener("change", listener);
  }, []);
  return matches;
}

function summary(store) {
  if (store.sync === "loading") return "";
  const [waiting, unknown] = [waitingCount(store.calls), unknownCount(store.calls)];
  const words = [waiting && `${waiting} waiting`, unknown && (unknown === 1 ? "1 unknown outcome" : `${unknown} unknown outcomes`)].filter(Boolean);
  return words.length ? words.join(" · ") : "nothing waiting";
}

function Arrived({ store, onShow }) {
  const fresh = [...store.fresh].map((id) => store.calls.get(id)).filter((call) => call?.state === "pending");
  if (!fresh.length) return null;
  return html`<button type="button" class="arrived" onClick=${() => onShow(fresh[0])}>${fresh.length === 1 ? "1 new call" : `${fresh.length} new calls`}<span>Show</span></button>`;
}

function Quiet({ store, filter, slim = false }) {
  if (filter) return html`<p class="quiet">Nothing here matches “${filter}”. <a href=${`/history?q=${encodeURIComponent(filter)}`}>Look in the history</a></p>`;
  const last = lastActivity(store.calls);
  if (slim) return html`<p class="quiet slim">No call waits for a person.</p>`;
  return html`<div class="quiet"><${Icon} name="quiet" size=${32} /><p><b>All is quiet.</b><br />No call waits for a person.</p>
    <p class="muted">${last ? html`The last one moved <${Ago} at=${last} />.` : html`None has come yet: a call comes here when an agent makes it and its policy asks for a person. <code>countersign demo</code> shows one, with a broker and an inbox of its own.`}</p></div>`;
}

const Blank = () => html`<div class="blank"><div class="ghost"><p class="skeleton pill"></p><p class="skeleton title"></p><p class="skeleton line"></p><p class="skeleton block"></p></div></div>`;
const Skeleton = () => html`<div class="bones" aria-label="Loading">${[1, 2, 3, 4].map(() => html`<div class="row bone"><p class="skeleton line"></p><p class="skeleton tiny"></p></div>`)}</div>`;
