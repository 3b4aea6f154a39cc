// Agents and servers, each with its stop: one deliberate step stops, two resume.

import { listAgents, listServers, listStops, resume, stop } from "../api.js";
import { Icon } from "../icons.js";
import { inStep, meetLostKey, useStore } from "../store.js";
import { Short } from "../text.js";
import { Ago } from "../time.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

export function Agents() {
  const store = useStore();
  const [lists, setLists] = useState(null);
  const [problem, setProblem] = useState(null);
  const load = async () => {
    try {
      const [agents, servers, stops] = await Promise.all([listAgents(), listServers(), listStops()]);
      setLists({ agents: agents.agents, servers: servers.servers, stops: stops.stops ?? [] });
      setProblem(null);
    } catch (caught) {
      setProblem(caught);
    }
  };
  useEffect(() => { if (store.me) load(); }, [!!store.me, store.sync]);
  const may = store.me?.role === "reviewer" && inStep();
  const act = async (verb, whom) => {
    try { await verb(whom); } catch (caught) { if (!meetLostKey(caught)) setProblem(caught); return; }
    await load();
  };
  const shared = { may, act, stops: lists?.stops ?? [] };
  return html`<main class="page" id="content" tabindex="-1">
    <header class="top"><h1>Agents and servers</h1><${Switch} name="everything" whom=${{ all: true }} ...${shared} label="Stop everything" /></header>
    ${problem && html`<p class="problem" role="alert"><b>${problem.title}.</b> ${problem.detail}</p>`}
    ${!lists ? !problem && html`<div class="bones"><div class="row bone"><p class="skeleton line"></p><p class="skeleton tiny"></p></div></div>`
    : html`<${Group} title="Agents" empty=${html`No agent yet. <code>countersign agents add NAME --servers a,b</code> makes one and shows its token once.`} items=${lists.agents}
        row=${(agent) => html`<${Line} key=${agent.name} icon="agents" name=${agent.name} whom=${{ agent: agent.name }} ...${shared}
          words=${[agent.owner && `owner ${agent.owner}`, (agent.servers ?? []).join(", ") || "no servers", agent.source === "config" ? "from the config file" : "added by command"]}
          seen=${agent.last_seen} />`} />
      <${Group} title="Servers" empty=${html`No server yet. <code>countersign servers add NAME -- COMMAND</code> adds one.`} items=${lists.servers}
        row=${(server) => html`<${Line} key=${server.name} icon="server" name=${server.name} whom=${{ server: server.name }} ...${shared}
          words=${[server.kind === "stdio" ? "a command" : "over HTTP", commandLine(server.identity), server.state, signIn(server), (server.grants ?? []).length ? `for ${server.grants.map(nameOf).join(", ")}` : "no agent may reach it"]} />`} />`}
  </main>`;
}

function Group({ title, items, row, empty }) {
  return html`<section class="lines"><h2>${title}</h2>${items.length ? html`<ul>${items.map(row)}</ul>` : html`<p class="quiet">${empty}</p>`}</section>`;
}

function Line({ icon, name, words, seen, whom, ...shared }) {
  const stopped = stopFor(shared.stops, whom);
  return html`<li class=${stopped ? "entry stopped" : "entry"}><span class="dot"><${Icon} name=${icon} /></span>
    <div class="what"><b><${Short} text=${name} /></b>
      <p class="muted">${words.filter(Boolean).map((text, index) => html`${index > 0 && " · "}<${Short} text=${String(text)} limit=${80} />`)}${seen && html` · seen <${Ago} at=${seen} />`}</p></div>
    <${Switch} name=${name} whom=${whom} ...${shared} /></li>`;
}

// The form opens in place: a stop takes a reason and one more press, and says first what it will do.
function Switch({ name, whom, stops, may, act, label = "Stop" }) {
  const [open, setOpen] = useState(false);
  const [reason, setReason] = useState("");
  const stopped = stopFor(stops, whom);
  const send = async () => { await act(stopped ? resume : stop, { ...whom, reason }); setOpen(false); setReason(""); };
  const what = stopped ? `Resume ${name}` : `Stop ${name}`;
  return html`<div class="switch-box">
    ${stopped && html`<p class="halted"><${Icon} name="stop" size=${16} /><span>Stopped${stopped.by ? ` by ${stopped.by}` : ""}${stopped.at && html` <${Ago} at=${stopped.at} />`}${stopped.reason && html`: “<${Short} text=${stopped.reason} />”`}</span></p>`}
    ${!open && html`<button type="button" class="btn small" disabled=${!may} aria-label=${what} onClick=${() => setOpen(true)}><${Icon} name=${stopped ? "play" : "stop"} size=${16} />${stopped ? "Resume" : label}</button>`}
    ${open && html`<form class="halt" onSubmit=${(event) => { event.preventDefault(); send(); }}>
      <p>${stopped ? `Calls of ${name} pass again, by the policy.` : `Denies what waits or is approved for ${name}, at once; until resumed nothing passes.`}</p>
      <input class="field" aria-label="Reason" placeholder="Reason" required value=${reason} onInput=${(event) => setReason(event.target.value)} />
      <span class="acts"><button type="button" class="btn small" onClick=${() => setOpen(false)}>Back</button><button class=${`btn small ${stopped ? "go" : "danger"}`} disabled=${!may}>${what}</button></span></form>`}
  </div>`;
}

function stopFor(stops, whom) {
  const [key, value] = Object.entries(whom)[0];
  return stops.find((entry) => (key === "all" ? entry.all : entry[key] === value)) ?? null;
}

// A command comes as the JSON list of its words; here it reads as in a shell, quoted where a shell would need it.
function commandLine(identity) {
  if (!identity?.startsWith("[")) return identity;
  try {
    const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replace(/'/g, `'\\''`)}'`);
    return JSON.parse(identity).map(quoted).join(" ");
  } catch {
    return identity;
  }
}

// Only an operator can sign the broker in, at the command line.
function signIn({ name, sign_in: standing }) {
  if (!standing || standing.state === "done") return null;
  const missing = standing.missing?.length ? ` for ${standing.missing.join(" ")}` : "";
  if (standing.state === "refused") return `sign-ins have not brought what it asks for: ${standing.missing?.join(" ") || "it names no scope"}`;
  return `needs a sign-in${missing}: countersign servers login ${name}`;
}

const nameOf = (grant) => (typeof grant === "string" ? grant : grant.name ?? grant.agent ?? "");
