"""The broker under test: the real binary with a config of ours, and a reviewer who speaks its REST API."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from backends import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
REVIEWER = "ann"
TOKEN = "real-tests-agent-token-0123456789abcdef"


def binary():
    """The broker's program: COUNTERSIGN_BIN, else the newest build."""
    named = os.environ.get("COUNTERSIGN_BIN")
    built = [path for path in (ROOT / "target/debug/countersign", ROOT / "target/release/countersign") if path.exists()]
    if named:
        return str(Path(named).resolve())
    if not built:
        raise FileNotFoundError("no countersign binary: cargo build, or set COUNTERSIGN_BIN")
    return str(max(built, key=lambda path: path.stat().st_mtime))


class Serving:
    """`countersign serve` with the given lines of configuration, and a reviewer; `grants` have their tokens."""

    def __init__(self, folder, lines, grants):
        self.program, self.folder = binary(), folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = folder / "countersign.toml"
        first = [f'listen = "{self.url.removeprefix("http://")}"', f'store = "sqlite:{folder / "countersign.db"}"']
        self.config.write_text("\n".join([*first, *lines]) + "\n")
        self.environment = os.environ | {variable(name): token_of(name) for name in grants}
        with open(folder / "broker.log", "wb") as log:
            self._child = subprocess.Popen(
                [self.program, "serve", "--config", str(self.config)], env=self.environment, stdout=log, stderr=log)
        try:
            wait_for("the broker to be ready", self._ready)
            self.reviewer = Reviewer(self.url, self._add_reviewer())
        except BaseException:
            self.close()
            raise

    def door(self, name, grant=None):
        """Where an agent finds this server, and with which token; a grant is named after its server unless said."""
        return f"{self.url}/mcp/{name}", token_of(grant or name)

    def bridge(self, name, grant=None):
        """The command that brings this server to an agent that only starts commands."""
        return [self.program, "stdio", "--server", name, "--url", self.url, "--token", token_of(grant or name)]

    def run(self, *arguments):
        """One command of the broker's own command line; its stdout. A failure carries its words."""
        done = subprocess.run(
            [self.program, *arguments, "--config", str(self.config)],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"countersign {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}"
        return done.stdout

    def close(self):
        self._child.terminate()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _ready(self):
        if self._child.poll() is not None:
            log = (self.folder / "broker.log").read_text(errors="replace")
            raise RuntimeError(f"the broker ended with {self._child.returncode}: {log[-800:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _add_reviewer(self):
        return json.loads(self.run("reviewers", "add", REVIEWER, "--json"))["token"]


class Broker(Serving):
    """The broker in front of the given subjects; each has a grant of its own, named after it."""

    def __init__(self, listed, folder):
        self.policies = {subject.name: ROOT / "policies" / f"{subject.name}.json" for subject in listed}
        super().__init__(folder, _config(listed, self.policies), [subject.name for subject in listed])

    def hidden(self, name):
        """The names and globs that the policy of this server hides."""
        policy = read_policy(self.policies[name])
        acted = [tool for tool, rule in policy.get("tools", {}).items() if rule.get("action") == "hide"]
        return [*policy.get("hide", []), *acted]


class Reviewer:
    """A person at the REST API."""

    def __init__(self, url, token):
        self._url, self._token = url, token

    def pending(self, tool, arguments, answered):
        """The waiting call of this tool with these arguments, once it is there; fails when it was answered instead."""
        def find():
            answer = answered()
            assert answer is None, f"{tool} was answered and not parked: {json.dumps(answer)[:400]}"
            return next((call for call in self.waiting() if call["tool"] == tool and call["arguments"] == arguments), None)

        return wait_for(f"{tool} to be pending", find, 45)

    def waiting(self):
        """The calls that wait for a person."""
        return self._get("/api/v1/calls?state=pending&limit=200")["calls"]

    def calls(self):
        """The newest calls, whatever became of them."""
        return self._get("/api/v1/calls?limit=200")["calls"]

    def shown(self, call):
        """All about one call, its timeline with it."""
        return self._get(f"/api/v1/calls/{call['id']}")

    def settled(self, call):
        """The call as it is shown, once its state is one that stays."""
        def find():
            shown = self.shown(call)
            return shown if shown["state"] not in ("pending", "permitted", "dispatched") else None

        return wait_for(f"{call['tool']} to settle", find)

    def vote(self, call, vote, reason):
        """Votes on the call's digest; returns the HTTP status and the answer."""
        body = {"vote": vote, "digest": call["digest"], "reason": reason}
        return self._exchange("POST", f"/api/v1/calls/{call['id']}/reviews", body)

    def _get(self, path):
        status, answer = self._exchange("GET", path)
        assert status == 200, f"GET {path} answered {status}: {answer}"
        return answer

    def _exchange(self, method, path, body=None):
        request = urllib.request.Request(
            self._url + path, method=method, data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode("utf-8", "replace")[:500]


def token_of(name):
    """The grant token for one server: each agent reaches only its own."""
    return f"{TOKEN}-{name}"


def read_policy(path):
    """A policy file; whole-line // comments are allowed in them."""
    lines = path.read_text().splitlines()
    return json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))


def variable(grant):
    """The environment variable that carries the token of this grant."""
    return "REAL_TESTS_TOKEN_" + grant.upper().replace("-", "_")


def _config(listed, policies):
    lines = []
    for subject in listed:
        env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in subject.environment().items())
        lines += [
            f"[servers.{subject.name}]", f"command = {json.dumps(subject.command)}", f"env = {{ {env} }}",
            f"[grants.{subject.name}-agent]", f'token = "env:{variable(subject.name)}"',
            f'servers = ["{subject.name}"]', f"policy = {json.dumps(str(policies[subject.name]))}",
        ]
    return lines
