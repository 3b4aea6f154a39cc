// Starts the page and draws its frame: the rail, the banner that says when the page is out of step, and the current page.

import { waitingCount } from "./groups.js";
import { Help } from "./help.js";
import { Icon } from "./icons.js";
import { useKeys } from "./keys.js";
import { Agents } from "./pages/agents.js";
import { CallPage } from "./pages/call.js";
import { History } from "./pages/history.js";
import { Inbox } from "./pages/inbox.js";
import { Policies } from "./pages/policies.js";
import { SignIn } from "./pages/signin.js";
import { takePageKey } from "./pagekey.js";
import { followLinks, useRoute } from "./route.js";
import { leave, start, useStore } from "./store.js";
import { Short } from "./text.js";
import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";

const PAGES = [["/", "inbox", "Inbox"], ["/history", "history", "History"], ["/agents", "agents", "Agents and servers"], ["/policies", "policies", "Policies"]];

function App() {
  const store = useStore();
  const route = useRoute();
  const [help, setHelp] = useState(false);
  const page = pageOf(route);
  const waiting = waitingCount(store.calls);
  useKeys({ "?": () => setHelp(true) });
  useEffect(() => { document.title = title(page, store, waiting); }, [page.name, waiting, store.signedOut, store.me]);

  if (store.signedOut) return html`<${SignIn} half=${store.halfSignedIn} onDone=${start} />`;
  return html`<div class=${`app ${page.kind}`}>
    <a class="skip" href="#content">Skip to the page</a>
    <${Rail} path=${route.path} waiting=${waiting} me=${store.me} onHelp=${() => setHelp(true)} />
    <div class="banners"><${Banner} store=${store} /><${Stops} stops=${store.stops} /></div>
    <div class="stage"><${page.View} key=${page.key} ...${page.props} /></div>
    <${Announcer} store=${store} />
    ${help && html`<${Help} me=${store.me} onClose=${() => setHelp(false)} onSignOut=${leave} />`}
  </div>`;
}

function pageOf({ path, query }) {
  if (path.startsWith("/c/")) {
    const id = decodeURIComponent(path.slice(3));
    return { name: "Call", kind: "one", View: CallPage, key: `call ${id}`, props: { id } };
  }
  if (path === "/history") return { name: "History", kind: "wide", View: History, key: "history", props: { query } };
  if (path === "/agents") return { name: "Agents and servers", kind: "wide", View: Agents, key: "agents", props: {} };
  if (path === "/policies") return { name: "Policies", kind: "wide", View: Policies, key: "policies", props: {} };
  return { name: "Inbox", kind: "split", View: Inbox, key: "inbox", props: {} };
}

function title(page, store, waiting) {
  if (store.signedOut) return "Sign in · Countersign";
  const what = page.name === "Inbox" ? (waiting ? `${waiting} waiting` : "Inbox") : waiting ? `${page.name} (${waiting} waiting)` : page.name;
  return `${what} · Countersign`;
}

function Rail({ path, waiting, me, onHelp }) {
  return html`<nav class="rail" aria-label="Pages">
    <span class="brand" aria-hidden="true"><svg class="icon" viewBox="0 0 24 24" width="24" height="24"><path d="M5.500 11.500l4.500 4.500 8.500-9" /><path class="under" d="M6 20h12" /></svg></span>
    ${PAGES.map(([href, icon, name]) => html`<a href=${href} aria-current=${path === href ? "page" : null} title=${name}>
      <${Icon} name=${icon} /><span class="name">${name.split(" ")[0]}</span><span class="sr">${name.includes(" ") ? name.slice(name.indexOf(" ")) : ""}</span>
      ${icon === "inbox" && waiting > 0 && html`<span class="badge"><span class="sr">, </span>${waiting > 99 ? "99+" : waiting}<span class="sr"> waiting</span></span>`}</a>`)}
    <span class="push"></span>
    <button type="button" class="ask" onClick=${onHelp} title="Keys and help (?)" aria-label="Keys and help"><${Icon} name="help" /></button>
    ${me && html`<button type="button" class="me" onClick=${onHelp} title=${`${me.name}, ${me.role}`} aria-label=${`${me.name}: account and keys`}><span aria-hidden="true">${[...me.name][0]?.toUpperCase()}</span></button>`}
  </nav>`;
}

function Banner({ store }) {
  if (store.sync === "live") return null;
  if (store.sync === "offline") return html`<p class="banner" role="status"><${Icon} name="away" /><span><b>Not connected.</b> What you see may be old, so nothing can be decided. Trying again by itself.</span></p>`;
  if (!store.error) return null;
  return html`<p class="banner" role="alert"><${Icon} name="away" /><span><b>${store.error.title}.</b> ${store.error.detail} Trying again by itself.</span></p>`;
}

// A stop outlives the page that set it, and an inbox that stays empty must say why.
function Stops({ stops }) {
  const whom = (entry) => (entry.all ? "Everything is" : html`${entry.agent ? "Agent" : "Server"} <${Short} text=${entry.agent ?? entry.server} limit=${32} /> is`);
  return stops.map((entry) => html`<p class="banner" role="status"><${Icon} name="stop" /><span><b>${whom(entry)} stopped</b> by <${Short} text=${entry.by} limit=${32} />${entry.reason && html`: “<${Short} text=${entry.reason} limit=${120} />”`}. <a href="/agents">Agents and servers</a></span></p>`);
}

// Says new arrivals to a screen reader, at most once in ten seconds.
function Announcer({ store }) {
  const last = useRef(0);
  const [text, setText] = useState("");
  useEffect(() => {
    const count = store.fresh.size;
    if (!count || Date.now() - last.current < 10_000) return;
    last.current = Date.now();
    setText(count === 1 ? "A new call waits." : `${count} new calls wait.`);
  }, [store.fresh.size]);
  return html`<div class="sr" aria-live="polite">${text}</div>`;
}

takePageKey();
followLinks();
render(html`<${App} />`, document.getElementById("app"));
start();
