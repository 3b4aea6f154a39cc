"""What ladder.py runs: a broker, an order book behind it, a person who approves late, and the clients that wait."""

import json
import math
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import waiters
from backends import free_port, wait_for
from broker import Serving, variable
from report import Skip

HERE = Path(__file__).resolve().parent
POLICY = {"version": "1", "default": "allow",
          "tools": {"place_order": {"action": "require_approval", "reason": "An order is paid at once."}}}
# From the approval until the client has ended with its answer: a client that is a process for each call starts again.
SLACK = 30
# So many clients start at once; more would use up each other's time-outs for connecting.
STARTING = 4


@dataclass
class Row:
    """A client, the era it is told to speak, and what it goes through on its way to the broker."""

    kind: type
    era: str
    via: str = ""

    @property
    def title(self):
        return f"{self.kind.name} → {self.via}" if self.via else self.kind.name

    @property
    def key(self):
        """A name that a grant and a folder may have."""
        words = f"{self.kind.__name__} {self.via.split(' ')[0]} {self.era}".lower().split()
        return "-".join(words)


@dataclass
class Result:
    state: str
    text: str
    protocol: str = ""


# In the table's words.
ERAS = {"legacy": "handshake", "modern": "2026-07-28"}
STDIO = "countersign stdio"
REMOTE = "mcp-remote 0.15.1"
GATEWAY = "supergateway 4.0.0"
# It ends each call after 60 s, under its client's name; its clients are told to call again before that.
GATEWAY_PATIENCE = 50


def rows():
    direct = [waiters.TypeScriptV2, waiters.Python, waiters.Rmcp, waiters.FastMcp, waiters.InspectorCli]
    return [
        Row(waiters.TypeScriptV1, "legacy"),
        *(Row(kind, era) for kind in direct for era in ("legacy", "modern")),
        Row(waiters.Claude, "its own"),
        Row(waiters.TypeScriptV1, "legacy", STDIO),
        Row(waiters.TypeScriptV2, "modern", STDIO),
        Row(waiters.Claude, "its own", STDIO),
        Row(waiters.TypeScriptV1, "legacy", REMOTE),
        Row(waiters.TypeScriptV2, "modern", REMOTE),
        Row(waiters.Claude, "its own", REMOTE),
        Row(waiters.TypeScriptV1, "legacy", GATEWAY),
        Row(waiters.Python, "legacy", GATEWAY),
        Row(waiters.Claude, "its own", GATEWAY),
    ]


class Run:
    """One broker and one order book for all clients and delays."""

    def __init__(self, home, folder, listed):
        self.home, self.folder, self.rows = home, folder, listed
        self.book = folder / "orders.jsonl"
        self.book.touch()
        self.upstream, address = self._open_upstream()
        self.broker = None
        try:
            self.broker = Serving(folder, _config(folder, address, listed), [row.key for row in listed])
            self.person = Person(self.broker.reviewer)
        except BaseException:
            self.close()
            raise

    def all(self, delays):
        """Every client with every delay at once, the longest first: a line for each, and {delay: [a result a row]}."""
        with ThreadPoolExecutor(len(self.rows) * len(delays)) as pool:
            under_way = {delay: [pool.submit(self._told, row, delay) for row in self.rows] for delay in sorted(delays)[::-1]}
            return {delay: [future.result() for future in under_way[delay]] for delay in delays}

    def close(self):
        if self.broker:
            self.person.close()
            self.broker.close()
        self.upstream.terminate()
        self.upstream.wait(20)

    def _told(self, row, delay):
        try:
            result = self._one(row, delay)
        except Skip as why:
            result = Result("skip", str(why))
        except Exception as error:
            result = Result("FAIL", f"{type(error).__name__}: {error}")
        print(f"{result.state:5} {row.title}, {result.protocol or ERAS.get(row.era, row.era)}, {delay} s: {result.text}", flush=True)
        return result

    def _one(self, row, delay):
        folder = self.folder / f"{row.key}-{delay}"
        folder.mkdir()
        client = row.kind(self.home, folder)
        target = self._target(row, client)
        order = f"{row.key}-{delay}"
        with self.person.expecting(order, delay):
            attempts = client.insist(target, row.era, ("place_order", {"order": order, "amount": 7}))["attempts"]
        ended = time.time()
        (folder / "attempts.json").write_text(json.dumps(attempts, indent=1))
        return self._judged(order, attempts, ended)

    def _target(self, row, client):
        url, token = self.broker.door("orders", row.key)
        if not row.via:
            return {"url": url, "token": token}
        if row.via == STDIO:
            command = self.broker.bridge("orders", row.key)
        else:
            command = self._bridge(row.via.split(" ")[0], url, token)
        return {"command": command, "env": client.environment}

    def _bridge(self, name, url, token):
        modules = self.home / "bridges/node_modules"
        node = next((self.home / "clients/node_modules").glob("node-linux-*/bin/node"), None)
        if node is None or not (modules / name).exists():
            raise Skip("not installed (setup.sh --clients --bridges)")
        if name == "mcp-remote":
            return [str(node), str(modules / "mcp-remote/dist/proxy.js"), url, "--transport", "http-only", "--allow-http",
                    "--header", f"Authorization: Bearer {token}"]
        return [str(node), str(modules / "supergateway/dist/index.js"), "--streamableHttp", url,
                "--oauth2Bearer", token, "--logLevel", "none"]

    def _judged(self, order, attempts, ended):
        last = attempts[-1]
        brought = [attempt.get("text") or attempt["error"] for attempt in attempts]
        assert f"placed {order}" in last.get("text", ""), f"never got its answer; its calls brought {brought}"
        placed = [line for line in map(json.loads, self.book.read_text().splitlines()) if line["order"] == order]
        assert len(placed) == 1, f"the tool ran {len(placed)} times"
        assert placed[0]["at"] >= self.person.approved.get(order, math.inf), "the tool ran before the approval"
        calls = [call for call in self.broker.reviewer.calls() if call["arguments"]["order"] == order]
        assert len(calls) == 1, f"a person was asked {len(calls)} times for one call"
        assert calls[0]["state"] == "completed", f"the call is {calls[0]['state']}"
        late = ended - self.person.approved[order]
        assert late <= SLACK, f"the client had its answer {late:.0f} s after the approval"
        call = self.broker.reviewer.shown(calls[0])
        return Result("ok", _told_as(call, attempts), ERAS[call["era"]])

    def _open_upstream(self):
        port = free_port()
        command = [str(self.home / "python/bin/python"), str(HERE / "orders.py"), str(port), str(self.book)]
        with open(self.folder / "upstream.log", "wb") as log:
            child = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for("the order book to listen", lambda: _listens(port))
        return child, f"http://127.0.0.1:{port}/mcp"


class Person:
    """Approves each order when its time has come, counted from when it was first seen to wait."""

    def __init__(self, reviewer):
        self.reviewer, self.approved = reviewer, {}
        self._delays, self._seen, self._over = {}, {}, threading.Event()
        self._starting, self._slots = threading.Semaphore(STARTING), {}
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self):
        self._over.set()
        self._thread.join(20)

    @contextmanager
    def expecting(self, order, delay):
        """Waits for one of the few slots to start in; it is free again when the call is seen, or the client gone."""
        self._starting.acquire()
        self._delays[order], self._slots[order] = delay, self._starting
        try:
            yield
        finally:
            self._arrived(order)

    def _arrived(self, order):
        slot = self._slots.pop(order, None)
        if slot:
            slot.release()

    def _work(self):
        while not self._over.wait(0.3):
            # On a busy machine one request may come to nothing; whoever waits must not lose their approver by it.
            try:
                self._look()
            except (OSError, AssertionError) as error:
                print(f"the person looks again: {type(error).__name__}: {error}", flush=True)

    def _look(self):
        for call in self.reviewer.waiting():
            order = call["arguments"]["order"]
            self._arrived(order)
            first = self._seen.setdefault(call["id"], time.monotonic())
            if time.monotonic() - first >= self._delays[order]:
                self.approved.setdefault(order, time.time())
                status, answer = self.reviewer.vote(call, "approve", "the budget allows it")
                if status >= 300:
                    print(f"the vote on {order} was refused with {status}: {answer}", flush=True)


def _told_as(call, attempts):
    """In the table's words: how the call got from the client's first try to its answer."""
    tickets = sum(1 for attempt in attempts if attempt.get("text", "").startswith(waiters.TICKETS))
    gave_up = [attempt for attempt in attempts if "error" in attempt]
    left = sum(1 for step in call["timeline"] if step["event"] == "detached" and step["how"] == "ticket")
    tasks = any(step["event"] == "attached" and step["how"] == "task" for step in call["timeline"])
    laps = left - tickets if call["era"] == "modern" else 0
    words = []
    if tasks:
        words.append("task")
    if laps:
        words.append(f"re-armed {laps} ×")
    if tickets:
        words.append(f"ticket {tickets} ×")
    if gave_up:
        words.append(f"gave up {len(gave_up)} × by itself (first after {gave_up[0]['seconds']:.0f} s)")
    if not words:
        return "held"
    return ", ".join(words) + (", answer on the repeat" if len(attempts) > 1 else "")


def table(listed, results):
    """The results as a page of documentation."""
    delays = list(results)
    lines = [
        "# How clients wait", "",
        "Made by `just clients` (`ladder.py --table`): each client makes one call, a person approves it after the time in",
        "the head of the column, and the client makes the call again for as long as it gets a ticket or gives up by itself.",
        "In each of these the tool ran once, not before the approval, one person was asked once, and the client has the answer.", "",
        "- held: the one call was open all the time and brought the answer",
        "- re-armed: the client came back by itself with the broker's `requestState`; whoever called it saw one call",
        "- ticket: the call ended with \"[NOT EXECUTED: waiting for approval …]\", and the repeat joined the same request",
        "- gave up: the client's or bridge's own time-out ended the call, and the repeat joined the same request",
        "- task: the client was given a task, and fetched its result; whoever called it saw one call", "",
        f"supergateway has a clock of its own, 60 s, so the grants behind it have `mcp.grant_patience` = {GATEWAY_PATIENCE}.", "",
        "| client | era | " + " | ".join(f"approved after {delay} s" for delay in delays) + " |",
        "|---|---|" + "---|" * len(delays),
    ]
    for place, row in enumerate(listed):
        column = [results[delay][place] for delay in delays]
        protocol = next((result.protocol for result in column if result.protocol), ERAS.get(row.era, row.era))
        cells = [result.text if result.state == "ok" else f"**{result.state}** {result.text}" for result in column]
        lines.append(f"| {row.title} | {protocol} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _config(folder, address, listed):
    (folder / "policy.json").write_text(json.dumps(POLICY))
    lines = ["[servers.orders]", f'url = "{address}"', "[mcp.grant_patience]"]
    lines += [f"{row.key} = {GATEWAY_PATIENCE}" for row in listed if row.via == GATEWAY]
    for grant in (row.key for row in listed):
        lines += [f"[grants.{grant}]", f'token = "env:{variable(grant)}"', 'servers = ["orders"]',
                  f"policy = {json.dumps(str(folder / 'policy.json'))}"]
    return lines


def _listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
