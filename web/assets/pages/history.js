// The history: every call that needed a person, filtered by what one remembers of it, page by page.

import { listAgents, listCalls, listServers } from "../api.js";
import { Row } from "../row.js";
import { become, go } from "../route.js";
import { useStore } from "../store.js";
import { longDay } from "../time.js";
import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";
import { STATES } from "../words.js";

const PICKS = [["", "Any state"], ...Object.entries(STATES)];
const FIELDS = ["state", "agent", "server", "tool", "reviewer", "q"];
const PAGE = 50;
const PAUSE = 350;

export function History({ query }) {
  const store = useStore();
  const filter = Object.fromEntries(FIELDS.map((field) => [field, query.get(field) ?? ""]));
  const address = JSON.stringify(filter);
  const [page, setPage] = useState({ calls: null, next: null, problem: null });
  const names = useNames();

  useEffect(() => {
    if (!store.me) return;
    let current = true;
    setPage((old) => ({ ...old, problem: null }));
    listCalls({ ...filter, limit: PAGE }).then((found) => current && setPage({ ...found, problem: null }))
      .catch((problem) => current && setPage({ calls: [], next: null, problem }));
    return () => { current = false; };
  }, [address, !!store.me, store.sync]);

  const set = (field, value, move = go) => {
    const params = new URLSearchParams(Object.entries({ ...filter, [field]: value }).filter(([, text]) => text));
    move(params.size ? `/history?${params}` : "/history");
  };
  const more = () => listCalls({ ...filter, limit: PAGE, after: page.next })
    .then((found) => setPage({ ...found, calls: [...page.calls, ...found.calls], problem: null })).catch((problem) => setPage({ ...page, problem }));
  const calls = page.calls?.map((call) => store.calls.get(call.id) ?? call);
  return html`<main class="page" id="content" tabindex="-1"><header class="top"><h1>History</h1>
      <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
        <${Search} value=${filter.q} onSearch=${(text) => set("q", text, become)} />
        <${Pick} label="State" value=${filter.state} options=${PICKS} onPick=${(value) => set("state", value)} />
        <${Pick} label="Agent" value=${filter.agent} options=${[["", "Any agent"], ...names.agents]} onPick=${(value) => set("agent", value)} />
        <${Pick} label="Server" value=${filter.server} options=${[["", "Any server"], ...names.servers]} onPick=${(value) => set("server", value)} />
        <input class="field" aria-label="Tool" placeholder="Tool" value=${filter.tool} onChange=${(event) => set("tool", event.target.value.trim())} />
        <input class="field" aria-label="Reviewer" placeholder="Reviewer" value=${filter.reviewer} onChange=${(event) => set("reviewer", event.target.value.trim())} />
      </form></header>
    ${page.problem && html`<p class="problem" role="alert"><b>${page.problem.title}.</b> ${page.problem.detail}</p>`}
    ${!calls ? html`<div class="bones">${[1, 2, 3, 4, 5].map(() => html`<div class="row bone"><p class="skeleton line"></p><p class="skeleton tiny"></p></div>`)}</div>`
    : calls.length ? html`<div class="rows">${byDay(calls).map(([day, some]) => html`<section class="group" key=${day}><h2>${day}</h2>
        ${some.map((call) => html`<${Row} key=${call.id} call=${call} past onOpen=${() => go(`/c/${encodeURIComponent(call.id)}`)} />`)}</section>`)}</div>`
    : !page.problem && html`<p class="quiet">${page.next ? "None of the newest calls matches; older ones have not been searched yet." : "No call matches."}
        ${filter.q && " The search knows whole words of arguments, and parts of tools, agents, servers and codes."}
        ${Object.values(filter).some(Boolean) && html` <a href="/history">Show all</a>`}</p>`}
    ${page.next && html`<p class="tail"><button type="button" class="btn" onClick=${more}>Older calls</button></p>`}
  </main>`;
}

// Searches after a pause in typing, and at once on Enter.
function Search({ value, onSearch }) {
  const [text, setText] = useState(value);
  const timer = useRef(0);
  const latest = useRef(onSearch);
  latest.current = onSearch;
  useEffect(() => { if (text.trim() !== value) setText(value); }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (typed, wait) => {
    setText(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => latest.current(typed.trim()), wait);
  };
  return html`<input class="field" type="search" aria-label="Search" placeholder="Search" value=${text}
    onInput=${(event) => search(event.target.value, PAUSE)} onChange=${(event) => search(event.target.value, 0)} />`;
}

function byDay(calls) {
  const days = new Map();
  for (const call of calls) {
    const day = longDay(call.requested_at);
    days.set(day, [...(days.get(day) ?? []), call]);
  }
  return [...days];
}

function useNames() {
  const { me } = useStore();
  const [names, set] = useState({ agents: [], servers: [] });
  const pairs = (list) => list.map(({ name }) => [name, name]);
  useEffect(() => {
    if (!me) return;
    Promise.all([listAgents(), listServers()]).then(([a, s]) => set({ agents: pairs(a.agents), servers: pairs(s.servers) })).catch(() => {});
  }, [!!me]);
  return names;
}

function Pick({ label, value, options, onPick }) {
  const known = options.some(([key]) => key === value) ? options : [...options, [value, value]];
  return html`<select class="field" aria-label=${label} value=${value} onChange=${(event) => onPick(event.target.value)}>
    ${known.map(([key, name]) => html`<option value=${key} selected=${key === value}>${name}</option>`)}</select>`;
}
