// The policies as they are in force: read-only, because they are changed where they are kept, in files.

import { listPolicies } from "../api.js";
import { useStore } from "../store.js";
import { Source, Value } from "../text.js";
import { html, useEffect, useState } from "../vendor/preact-htm.js";

export function Policies() {
  const store = useStore();
  const [policies, setPolicies] = useState(null);
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (!store.me) return;
    listPolicies().then((found) => { setPolicies(found.policies); setProblem(null); }).catch(setProblem);
  }, [!!store.me, store.sync]);
  return html`<main class="page" id="content" tabindex="-1"><header class="top"><h1>Policies</h1></header>
    ${problem && html`<p class="problem" role="alert"><b>${problem.title}.</b> ${problem.detail}</p>`}
    ${!policies ? !problem && html`<div class="bones"><div class="row bone"><p class="skeleton line"></p></div></div>`
    : policies.length ? policies.map((policy) => html`<${Policy} key=${policy.name} policy=${policy} open=${policies.length <= 3} />`)
    : html`<p class="quiet">No policy is attached, so everything is denied. <code>policy = "FILE"</code> under a server or an agent (<code>[grants.NAME]</code>) of the config attaches one.</p>`}
  </main>`;
}

function Policy({ policy, open }) {
  const named = (one, many, names = []) => (names.length ? [`${names.length === 1 ? one : many} ${names.join(", ")}`] : []);
  const on = [...named("agent", "agents", policy.grants), ...named("server", "servers", policy.servers)];
  return html`<details class="policy" open=${open}><summary><b class="mono"><${Value} text=${policy.name} /></b>
      <span class="muted">${on.length ? `on ${on.join("; ")}` : "attached to nothing"}</span>
      ${policy.error && html`<span class="mark alarm">the file has a mistake; the last good one is in force</span>`}</summary>
    ${policy.error && html`<p class="problem"><${Value} text=${policy.error} /></p>`}
    <p class="muted digest">Digest <span class="mono">${policy.digest}</span></p>
    <pre class="raw mono" tabindex="0" aria-label=${`Text of ${policy.name}`}><${Source} text=${policy.text ?? ""} /></pre></details>`;
}
