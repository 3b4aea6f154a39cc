"""The stories: what must be true of each published server and client, first alone, then with the broker between."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase

import clients
import subjects
from backends import Backends
from broker import REVIEWER, Broker
from mcp_raw import LEGACY, MODERN, Http, Stdio, text_of
from report import Skip

# How long a person takes in the clients' stories: longer than any grace, shorter than any client's patience.
THINKING = 2.5


def direct(report, home, agents=False):
    """Each server and client without a broker: proves the servers, the back-ends and the checks themselves."""
    backends = Backends(report.folder)
    try:
        for kind in subjects.ALL:
            for version in (LEGACY, MODERN):
                report.tell(f"{kind.name} alone, {version}: lists, reads, has its effect once",
                            lambda: _server_alone(_ready(kind, backends, home), version, report.folder))
        for kind in clients.ALL + (clients.AGENTS if agents else []):
            for era in kind.eras:
                report.tell(f"{kind.name} alone, {era}: lists, reads, has its effect once",
                            lambda: _client_alone(kind, era, _ready(subjects.HealthOmics, backends, home), report.folder, home))
    finally:
        backends.close()


def brokered(report, home, agents=False):
    """Every server and client with the broker between."""
    backends, started = Backends(report.folder), []
    try:
        listed = [subject for kind in subjects.ALL if (subject := _available(report, kind, backends, home))]
        if not report.tell("the broker starts", lambda: started.append(Broker(listed, report.folder)), always=True):
            return
        for subject in listed:
            _server_stories(report, started[0], subject, home)
        for kind in clients.ALL + (clients.AGENTS if agents else []):
            for era in kind.eras:
                report.tell(f"{kind.name}, {era}: lists, reads, waits for a person, gets the answer",
                            lambda: _client_waits(kind, era, started[0], listed[0], home))
        report.tell("the audit log verifies", lambda: started[0].run("audit", "verify"))
    finally:
        for broker in started:
            broker.close()
        backends.close()


def _server_stories(report, broker, subject, home):
    for version in (LEGACY, MODERN):
        door = Http(*broker.door(subject.name), version)
        name = f"{subject.name}, {version}"
        report.tell(f"{name}: lists the server's own tools, less the hidden",
                    lambda: _lists_the_same(door, broker, subject))
        report.tell(f"{name}: a read passes at once", lambda: _reads(subject, door.call))
        report.tell(f"{name}: waits, is approved, runs once", lambda: _approved(door, broker, subject, subject.stage()))
        report.tell(f"{name}: waits, is denied, leaves all as it was", lambda: _denied(door, broker, subject))
        if loose := subject.stage_loosely():
            report.tell(f"{name}: waits when loosely written, too", lambda: _approved(door, broker, subject, loose))
        if subject.hidden:
            report.tell(f"{name}: a hidden tool cannot be called", lambda: _refused(door, subject))
        door.close()
    report.tell(f"{subject.name}, through `countersign stdio`: lists, reads, waits for a person, gets the answer",
                lambda: _bridged(broker, subject, home))


def _server_alone(subject, version, folder):
    server = Stdio(subject.command, subject.environment(), version, folder / f"{subject.name}.err")
    try:
        names = {tool["name"] for tool in server.tools()}
        gated = subject.stage()
        assert {subject.read[0], gated.tool} <= names, f"{subject.read[0]} or {gated.tool} is not listed"
        _reads(subject, server.call)
        _untouched(gated)
        _has_run_once(gated, server.call(gated.tool, gated.arguments))
    finally:
        server.close()


def _client_alone(kind, era, subject, folder, home):
    agent, gated = kind(home, folder), subject.stage()
    target = {"command": subject.command, "env": agent.environment | subject.environment()}
    seen = agent.run(target, era, subject.read[:2], [gated.tool, gated.arguments])
    _saw(seen, era, subject, gated)


def _lists_the_same(door, broker, subject):
    own = Stdio(subject.command, subject.environment(), door.version, broker.folder / f"{subject.name}.err")
    try:
        tools = own.tools()
    finally:
        own.close()
    hidden = broker.hidden(subject.name)
    expected = [tool for tool in tools if not any(fnmatchcase(tool["name"], pattern) for pattern in hidden)]
    shown = door.tools()
    assert [tool["name"] for tool in shown] == [tool["name"] for tool in expected], (
        f"the names differ by {sorted({tool['name'] for tool in shown} ^ {tool['name'] for tool in expected})}")
    tasks = set()
    for mine, theirs in zip(shown, expected):
        if json.dumps(mine) != json.dumps(theirs):
            assert json.dumps(mine) == json.dumps(_as_task(theirs)), f"{mine['name']} differs from the server's own"
            tasks.add(mine["name"])
    # 2026-07-28 has no such mark.
    waits = {subject.stage().tool} if door.version == LEGACY else set()
    assert waits <= tasks and bool(waits) == bool(tasks), f"these are marked as tasks: {sorted(tasks)}, but {waits} wait"


def _as_task(tool):
    """With the one member that the broker adds, where a call may wait."""
    return tool | {"execution": tool.get("execution", {}) | {"taskSupport": "optional"}}


def _approved(door, broker, subject, gated):
    with _calling(door.call, gated) as agent:
        call = _parked(broker, subject, gated, agent)
        status, _ = broker.reviewer.vote(call | {"digest": _another(call["digest"])}, "approve", "not what I saw")
        assert status == 409, f"a vote on another digest answered {status}"
        _untouched(gated)
        _voted(broker, call, "approve", "the owner asked for it")
        _has_run_once(gated, agent.answer())
    assert broker.reviewer.settled(call)["state"] == "completed"


def _denied(door, broker, subject):
    gated = subject.stage()
    with _calling(door.call, gated) as agent:
        call = _parked(broker, subject, gated, agent)
        _voted(broker, call, "deny", "not in the maintenance window")
        result = agent.answer()
    assert result.get("isError") is True, f"a denial came without isError: {result}"
    text = text_of(result)
    assert text.startswith(f"[DENIED by {REVIEWER}] not in the maintenance window"), f"the agent read {text[:300]}"
    assert broker.reviewer.settled(call)["state"] == "denied"
    _untouched(gated)


def _refused(door, subject):
    tool, arguments = subject.hidden
    try:
        answer = door.call(tool, arguments)
    except RuntimeError as refusal:
        answer = {"isError": True, "content": [{"text": str(refusal)}]}
    assert answer.get("isError") is True, f"{tool} answered {text_of(answer)[:300]}"
    _reads(subject, door.call)  # what the hidden call would have destroyed is still there


def _bridged(broker, subject, home):
    agent = clients.PythonSdk(home, broker.folder)
    target = {"command": broker.bridge(subject.name), "env": agent.environment}
    _client_story(agent, "modern", target, broker, subject)


def _client_waits(kind, era, broker, subject, home):
    url, token = broker.door(subject.name)
    _client_story(kind(home, broker.folder), era, {"url": url, "token": token}, broker, subject)


def _client_story(client, era, target, broker, subject):
    """The client runs as a process; a person looks for a while, then approves."""
    gated = subject.stage()

    def run(tool, arguments):
        return client.run(target, era, subject.read[:2], [tool, arguments])

    with _calling(run, gated) as agent:
        call = _parked(broker, subject, gated, agent)
        time.sleep(THINKING)
        _untouched(gated)
        _voted(broker, call, "approve", "the owner asked for it")
        _saw(agent.answer(), era, subject, gated)
    assert broker.reviewer.settled(call)["state"] == "completed"


class _Calling:
    """An agent's call under way in a thread."""

    def __init__(self, future):
        self._future = future

    def answer(self):
        return self._future.result(60)

    def answered(self):
        """The answer when it is there already, else None."""
        return self._future.result() if self._future.done() else None


@contextmanager
def _calling(call, gated):
    with ThreadPoolExecutor(1) as pool:
        yield _Calling(pool.submit(call, gated.tool, gated.arguments))


def _parked(broker, subject, gated, agent):
    """The call as the reviewer sees it: whole, and with nothing done yet."""
    call = broker.reviewer.pending(gated.tool, gated.arguments, agent.answered)
    assert call["server"] == subject.name and call["agent"] == f"{subject.name}-agent", f"the card says {call}"
    assert all(call[field] for field in ("digest", "short_code", "expires_at", "reason", "rule")), f"the card lacks something: {call}"
    _untouched(gated)
    return call


def _voted(broker, call, vote, reason):
    status, answer = broker.reviewer.vote(call, vote, reason)
    assert status < 300, f"the vote was refused with {status}: {answer}"


def _another(digest):
    """A digest of the same shape that is not this one."""
    return digest[:-1] + ("0" if digest[-1] != "0" else "1")


def _reads(subject, call):
    tool, arguments, text = subject.read
    answer = text_of(call(tool, arguments))
    assert text in answer, f"{tool} answered {answer[:300]}"


def _untouched(gated):
    assert not gated.done(), f"the effect of {gated.tool} is there, and nobody approved it"
    assert gated.times() == 0, f"{gated.times()} requests of {gated.tool} arrived, and nobody approved it"


def _has_run_once(gated, answer):
    text = text_of(answer)
    assert gated.answer_has in text, f"{gated.tool} answered {text[:300]}"
    assert gated.done(), f"{gated.tool} answered {text[:300]} but the effect is not there"
    assert gated.times() == 1, f"{gated.times()} requests for one call of {gated.tool}"


def _saw(seen, era, subject, gated):
    """What a client must have got: the tools, the read, and the answer of the call that had its effect once."""
    expected = clients.ERAS.get(era)
    assert seen["version"] in (None, expected), f"negotiated {seen['version']}, not {expected}"
    assert {subject.read[0], gated.tool} <= set(seen["tools"]), f"it lists only {seen['tools']}"
    text = text_of(seen["read"])
    assert subject.read[2] in text, f"{subject.read[0]} answered {text[:300]}"
    _has_run_once(gated, seen["gated"])


def _available(report, kind, backends, home):
    """The subject, or None after a line that says why its stories are skipped."""
    found = []
    report.tell(f"{kind.name}: its back-end is there", lambda: found.append(_ready(kind, backends, home)), always=True)
    return found[0] if found else None


def _ready(kind, backends, home):
    """The subject, made once; a Skip that says what it lacks."""
    if kind is subjects.Valkey and backends.redis is None:
        raise Skip("there is no redis-server or valkey-server on PATH (setup.sh)")
    if kind not in backends.subjects:
        backends.subjects[kind] = kind(backends, home / "python/bin")
    return backends.subjects[kind]
