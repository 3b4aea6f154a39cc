// What a browser sees that is not signed in: how to get a link, and a field for a reviewer's token.

import { signIn } from "../api.js";
import { html, useState } from "../vendor/preact-htm.js";

export function SignIn({ half, onDone }) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(token.trim());
      setToken("");
      await onDone();
    } catch (caught) {
      setProblem(caught);
    }
    setBusy(false);
  };
  return html`<main class="door-box"><img class="door-mark" src="/assets/icon.svg" alt="" width="40" height="40" />
    <h1>Sign in to Countersign</h1>
    ${half && html`<p class="problem" role="alert">Sign in again: this browser still has its session, but not the key that came with it, and nothing can be decided without that key.</p>`}
    <p>A link signs you in. On the machine where the broker runs:</p>
    <pre class="raw mono" tabindex="0" aria-label="Command that opens the inbox">countersign open</pre>
    <p>Or ask whoever runs it for a link of your own:</p>
    <pre class="raw mono" tabindex="0" aria-label="Command that adds a reviewer">countersign reviewers add NAME</pre>
    <form onSubmit=${submit}><label for="token">Have a reviewer’s token already?</label>
      <div class="decide"><input id="token" class="field mono" type="password" autocomplete="current-password" spellcheck="false" required value=${token} onInput=${(event) => setToken(event.target.value)} />
      <button class="btn go" disabled=${busy}>Sign in</button></div>
      ${problem && html`<p class="problem" role="alert">${problem.status === 401 ? "This token is not known here: it may be revoked, or be an agent’s." : problem.detail || problem.title}</p>`}</form>
  </main>`;
}
