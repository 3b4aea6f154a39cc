"""The stories: what must be true of each published server, first alone, then behind the broker."""

import subjects
from backends import Backends
from mcp_raw import LEGACY, MODERN, Stdio, text_of
from run import Skip


def direct(report, home):
    """Each server alone: it lists tools, reads, and its gated call has its effect once."""
    backends = Backends(report.folder)
    try:
        for kind in subjects.ALL:
            for version in (LEGACY, MODERN):
                report.tell(f"{kind.name} alone, {version}", lambda: _alone(kind, backends, home, report.folder, version))
    finally:
        backends.close()


def _alone(kind, backends, home, folder, version):
    subject = ready(kind, backends, home)
    server = Stdio(subject.command, subject.environment(), version, folder / f"{kind.name}.err")
    try:
        server.open()
        names = {tool["name"] for tool in server.tools()}
        tool, arguments, text = subject.read
        answer = server.call(tool, arguments)
        assert text in text_of(answer), f"{tool} answered {text_of(answer)[:300]}"
        gated = subject.stage()
        assert {tool, gated.tool} <= names, f"{tool} or {gated.tool} is not listed"
        assert not gated.done() and gated.times() == 0, "the effect is there before the call"
        answer = server.call(gated.tool, gated.arguments)
        assert gated.answer_has in text_of(answer), f"{gated.tool} answered {text_of(answer)[:300]}"
        assert gated.done(), f"{gated.tool} answered {text_of(answer)[:300]} but the effect is not there"
        assert gated.times() == 1, f"{gated.times()} requests for one call"
    finally:
        server.close()


def ready(kind, backends, home):
    """The subject, or a Skip that says what it lacks."""
    if kind is subjects.Valkey and backends.redis is None:
        raise Skip("there is no redis-server or valkey-server on PATH")
    kept = backends.__dict__.setdefault("subjects", {})
    if kind not in kept:
        kept[kind] = kind(backends, home / "python/bin")
    return kept[kind]
