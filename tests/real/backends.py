"""The back-ends behind the real servers: moto as AWS, a stand-in for what moto lacks, and Redis.

Each keeps what reached it, so that a check can count effects. All listen on loopback, on ports that the system
picks; moto and the stand-in live in this process, Redis is a child that is ended by its pid.
"""

import io
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
import uuid

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from werkzeug.serving import WSGIRequestHandler, make_server

import aws_model
from aws_standin import StandIn

KEYS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "us-east-1"}


class Backends:
    """Everything that the six servers talk to, started; `redis` is None where there is no Redis to start."""

    def __init__(self, folder):
        self.standin = StandIn()
        self.moto = Moto()
        self.redis = Redis.start(folder)
        self.subjects = {}
        self.aws_models = folder / "aws-models"
        aws_model.write(self.aws_models)

    def close(self):
        if self.redis:
            self.redis.close()
        self.moto.close()
        self.standin.close()


class Moto:
    """moto's server in this process, with every request kept as (operation, body)."""

    def __init__(self):
        self.requests = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._record, threaded=True, request_handler=_QuietHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        os.environ["MOTO_PORT"] = str(self._server.server_port)  # where moto's state machines look for moto
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        _run_state_machines(self.url)

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, **KEYS)

    def count(self, operation, text):
        """How many requests for this operation carried this text in their body."""
        return sum(1 for seen, body in self.requests if seen == operation and text in body)

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _record(self, environ, respond):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(body)
        text = body.decode("utf-8", "replace")
        self.requests.append((_operation(environ, text), text))
        return self._app(environ, respond)


class Redis:
    """A Redis child, and a MONITOR connection that keeps each command it ran."""

    @classmethod
    def start(cls, folder):
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        return cls(program, folder) if program else None

    def __init__(self, program, folder):
        self.port = free_port()
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with open(folder / "redis.log", "wb") as log:
            self._child = subprocess.Popen([*command, "--dir", str(folder)], stdout=log, stderr=log)
        self._monitor = wait_for("redis to listen", self._connect)
        self._commands = _Connection(self._connect())
        self.ran = []
        _Connection(self._monitor).send("MONITOR")
        threading.Thread(target=self._follow, daemon=True).start()

    def run(self, *words):
        """One command; returns its reply as text, or as a number."""
        self._commands.send(*words)
        return self._commands.reply()

    def count(self, *words):
        """How many times this command ran with exactly these arguments, after a PING that flushes the monitor."""
        mark = f"mark-{uuid.uuid4()}"
        self.run("PING", mark)
        wait_for("the monitor to catch up", lambda: any(mark in line for line in list(self.ran)))
        wanted = " ".join(f'"{word}"' for word in words).lower()
        return sum(1 for line in list(self.ran) if line.split("] ", 1)[-1].strip().lower() == wanted)

    def close(self):
        self._child.terminate()
        self._child.wait(10)
        self._monitor.close()

    def _connect(self):
        try:
            return socket.create_connection(("127.0.0.1", self.port), 1)
        except OSError:
            return None

    def _follow(self):
        self._monitor.settimeout(None)
        try:
            for line in self._monitor.makefile("r", encoding="utf-8", errors="replace"):
                self.ran.append(line.rstrip())
        except OSError:
            pass


class _Connection:
    """Just enough of Redis' protocol for one command at a time."""

    def __init__(self, connection):
        self._socket, self._file = connection, connection.makefile("rb")

    def send(self, *words):
        encoded = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self._socket.sendall(b"".join(parts))

    def reply(self):
        kind, rest = (line := self._file.readline().strip())[:1], line[1:]
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return self._file.read(length + 2)[:-2].decode() if length >= 0 else None
        return rest.decode()


class _QuietHandler(WSGIRequestHandler):
    def log(self, *_):
        """Quiet: the requests are kept as data."""


def free_port():
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition, seconds=20):
    """The first truthy value of `condition`; a TimeoutError that names `what` otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def _operation(environ, body):
    """`DeleteDatabase`, whether the service says it in a header (JSON) or in a form field (Query)."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return target.rsplit(".", 1)[1]
    fields = dict(part.split("=", 1) for part in body.split("&") if part.count("=") == 1)
    return fields.get("Action", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")


def _run_state_machines(url):
    """Makes moto really run state machines, and give each unnamed execution a name of its own as AWS does.

    Without the first an execution stays RUNNING for ever; without the second, in moto 5.2.5, the second execution
    of a machine fails because both are called "None".
    """
    setting = b'{"stepfunctions": {"execute_state_machine": true}}'
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/config", data=setting, method="POST")).close()
    published = StepFunctionsParserBackend.start_execution
    if published.__name__ == "named":
        return

    def named(self, state_machine_arn, name=None, *rest, **more):
        return published(self, state_machine_arn, name or str(uuid.uuid4()), *rest, **more)

    StepFunctionsParserBackend.start_execution = named
