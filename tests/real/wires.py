"""Three raw MCP clients, one for each transport: what is sent and what comes is text, untouched.

Each reads in threads of its own and answers what the server asks of its client; `wires.turn(text)` sends one
message and returns every message that came until its answer.
"""

import contextlib
import http.client
import json
import queue
import re
import socket
import threading
import time
from urllib.parse import urljoin, urlsplit

from mcp_raw import _events, start, stop

PATIENCE = 30
# What comes after an answer comes within this.
AFTERWARDS = 0.3
# To a notification too: server-everything asks for the roots a third of a second after the greeting.
AFTER_NOTIFICATION = 1.5

ANSWERS = {
    "ping": {},
    "roots/list": {"roots": [{"uri": "file:///tmp/alike", "name": "alike"}]},
    "sampling/createMessage": {
        "role": "assistant", "model": "none", "stopReason": "endTurn",
        "content": {"type": "text", "text": "sampled"}},
    "elicitation/create": {"action": "decline"},
}


class Wire:
    """What the three share; a subclass has `send(text)` and calls `_came(text)`."""

    def __init__(self):
        self._inbox = queue.Queue()

    def turn(self, text):
        """Sends a message; the texts that came until its answer and shortly after."""
        self.send(text)
        wanted, came = json.loads(text).get("id"), []
        deadline = time.monotonic() + (PATIENCE if wanted is not None else AFTER_NOTIFICATION)
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except queue.Empty:
                break
            came.append(message)
            said = json.loads(message)
            if "method" not in said and said.get("id") == wanted:
                wanted, deadline = None, time.monotonic() + AFTERWARDS
        assert wanted is None, f"no answer within {PATIENCE} s to {text}"
        return came

    def _came(self, text):
        self._inbox.put(text)
        said = json.loads(text)
        if "method" in said and "id" in said:
            answer = {"jsonrpc": "2.0", "id": said["id"], "result": ANSWERS[said["method"]]}
            threading.Thread(target=self.send, args=(json.dumps(answer),), daemon=True).start()


class Stdio(Wire):
    def __init__(self, command, environment, errors):
        super().__init__()
        self._child = start(command, environment, errors)
        self._writing = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, text):
        with self._writing:
            self._child.stdin.write(text.encode() + b"\n")
            self._child.stdin.flush()

    def close(self):
        stop(self._child)

    def _read(self):
        for line in self._child.stdout:
            self._came(line.decode().rstrip("\r\n"))


class OverHttp(Wire):
    """Headers and connections; one connection for each request."""

    def __init__(self, url, token):
        super().__init__()
        self._url, self._open = url, []
        self._headers = {"Authorization": f"Bearer {token}"}

    def close(self):
        for opened in self._open:
            # Closing what another thread reads would wait for it.
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def _request(self, method, url, body, headers):
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE * 2)
        connection.connect()
        self._open.append(connection.sock)
        connection.request(method, place.path + (f"?{place.query}" if place.query else ""), body, self._headers | headers)
        return connection.getresponse()

    def _follow(self, response):
        try:
            for text in _events(response):
                self._came(text.decode())
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed from this side


class Sse(OverHttp):
    """HTTP+SSE of 2024-11-05."""

    def __init__(self, url, token):
        super().__init__(url, token)
        stream = self._request("GET", url, None, {"Accept": "text/event-stream"})
        assert stream.status == 200, f"GET {url} answered {stream.status}"
        lines = [stream.readline().decode().rstrip("\r\n") for _ in range(3)]
        assert lines[0] == "event: endpoint", lines
        self._endpoint = urljoin(url, lines[1].removeprefix("data:").strip())
        threading.Thread(target=self._follow, args=(stream,), daemon=True).start()

    def send(self, text):
        response = self._request("POST", self._endpoint, text.encode(), {"Content-Type": "application/json"})
        assert response.status == 202, f"POST answered {response.status}: {response.read(300)}"
        response.read()


class Streamable(OverHttp):
    def __init__(self, url, token):
        super().__init__(url, token)
        self._headers |= {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def send(self, text):
        response = self._request("POST", self._url, text.encode(), {})
        if session := response.headers.get("Mcp-Session-Id"):
            self._headers["Mcp-Session-Id"] = session
        if response.headers.get("Content-Type", "").startswith("text/event-stream"):
            threading.Thread(target=self._follow, args=(response,), daemon=True).start()
        elif body := response.read():
            self._came(body.decode())
        if "notifications/initialized" in text:
            stream = self._request("GET", self._url, None, {"Accept": "text/event-stream"})
            threading.Thread(target=self._follow, args=(stream,), daemon=True).start()


# What no two runs have in common: times and identifiers that a server makes by chance.
BY_CHANCE = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)"), "TIME"),
    (re.compile(r"\d{1,2}:\d\d:\d\d( [AP]M)?"), "CLOCK"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
]


def without_chance(text):
    for pattern, word in BY_CHANCE:
        text = pattern.sub(word, text)
    return text
