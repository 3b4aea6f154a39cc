"""The stories: what must be true of each published server and client, first alone, then with the broker between."""

import time
from concurrent.futures import ThreadPoolExecutor

import clients
import subjects
from backends import Backends, wait_for
#from broker import Broker
from mcp_raw import LEGACY, MODERN, Http, Stdio, parse, text_of
from run import Skip

# How long a person takes in the clients' stories: longer than any grace, shorter than any client's patience.
THINKING = 2.5


def direct(report, home, agents=False):
    """Each server and client without a broker: proves the servers, the back-ends and the checks themselves."""
    backends = Backends(report.folder)
    try:
        for kind in subjects.ALL:
            for version in (LEGACY, MODERN):
                report.tell(f"{kind.name} alone, {version}", lambda: _alone(kind, backends, home, report.folder, version))
        for kind in clients.ALL + (clients.AGENTS if agents else []):
            for era in kind.eras:
                report.tell(f"{kind.name} alone, {era}", lambda: _client_alone(kind, backends, home, report.folder, era))
    finally:
        backends.close()


def _alone(kind, backends, home, folder, version):
    subject = ready(kind, backends, home)
    server = Stdio(subject.command, subject.environment(), version, folder / f"{kind.name}.err")
    try:
        server.open()
        names = {tool["name"] for tool in server.tools()}
        gated = subject.stage()
        assert {subject.read[0], gated.tool} <= names, f"{subject.read[0]} or {gated.tool} is not listed"
        _reads(subject, server.call)
        _untouched(gated)
        _has_run_once(gated, server.call(gated.tool, gated.arguments))
    finally:
        server.close()


def _client_alone(kind, backends, home, folder, era):
    subject = ready(subjects.HealthOmics, backends, home)
    agent, gated = kind(home, folder), subject.stage()
    target = {"command": subject.command, "env": agent.environment | subject.environment()}
    seen = agent.run(target, era, subject.read[:2], [gated.tool, gated.arguments])
    _saw(seen, era, subject, gated)


def ready(kind, backends, home):
    """The subject, or a Skip that says what it lacks."""
    if kind is subjects.Valkey and backends.redis is None:
        raise Skip("there is no redis-server or valkey-server on PATH")
    if kind not in backends.subjects:
        backends.subjects[kind] = kind(backends, home / "python/bin")
    return backends.subjects[kind]


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
