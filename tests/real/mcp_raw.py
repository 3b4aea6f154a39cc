"""Two MCP clients that hide nothing: stdio and streamable HTTP, each in both eras, messages as plain dicts.

The official SDKs re-model what they read; equality with the server's own list needs the JSON as it came, so
objects keep their order and numbers their text.
"""

import http.client
import itertools
import json
import os
import queue
import subprocess
import threading
from urllib.parse import urlsplit

LEGACY, MODERN = "2025-11-25", "2026-07-28"
CLIENT = {"name": "countersign-real-tests", "version": "1"}
PATIENCE = 90


def parse(text):
    """JSON with each number kept as its text: 1.0 and 1 differ."""
    return json.loads(text, parse_int=lambda number: f"int {number}", parse_float=lambda number: f"float {number}")


class Client:
    """What both transports share; a subclass has `exchange(message)`, the answer to one request, and `notify`."""

    def __init__(self, version):
        self.version = version
        self._ids = itertools.count(1)
        self._greeted = False

    def request(self, method, **params):
        """The result of one request; an error answer raises."""
        if self.version == MODERN:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": CLIENT,
            }
        answer = self.exchange({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
        if "error" in answer:
            raise RuntimeError(f"{method}: {json.dumps(answer['error'])}")
        return answer["result"]

    def tools(self):
        """Every tool on every page, as the server wrote it."""
        self._greet()
        tools, cursor = [], None
        while True:
            page = self.request("tools/list", **({"cursor": cursor} if cursor else {}))
            tools += page["tools"]
            cursor = page.get("nextCursor")
            if not cursor:
                return tools

    def call(self, tool, arguments):
        self._greet()
        return self.request("tools/call", name=tool, arguments=arguments)

    def _greet(self):
        """What the era has before the first request: the handshake, or a discovery."""
        if self._greeted:
            return
        self._greeted = True
        if self.version == MODERN:
            self.request("server/discover")
        else:
            self.request("initialize", protocolVersion=self.version, capabilities={}, clientInfo=CLIENT)
            self.notify("notifications/initialized")


def start(command, environment, errors):
    """A server as a child, its stderr appended to the file `errors`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with open(errors, "ab") as log:
        return subprocess.Popen(
            command, env=kept | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)


def stop(child):
    """Ends its stdin, and then the child itself."""
    child.stdin.close()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


class Stdio(Client):
    """A server as a child process of ours."""

    def __init__(self, command, environment, version, errors):
        super().__init__(version)
        self._child = start(command, environment, errors)
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def notify(self, method):
        self._send({"jsonrpc": "2.0", "method": method})

    def exchange(self, message):
        self._send(message)
        while True:
            line = self._lines.get(timeout=PATIENCE)
            if line is None:
                raise EOFError(f"the server ended with code {self._child.wait(5)}")
            answer = parse(line)
            if answer.get("id") == f"int {message['id']}" and "method" not in answer:
                return answer

    def close(self):
        stop(self._child)

    def _send(self, message):
        self._child.stdin.write(json.dumps(message).encode() + b"\n")
        self._child.stdin.flush()

    def _read(self):
        for line in self._child.stdout:
            self._lines.put(line)
        self._lines.put(None)


class Http(Client):
    """The broker's door for agents; reads JSON answers and event streams alike."""

    def __init__(self, url, token, version):
        super().__init__(version)
        self._url, self._session = urlsplit(url), None
        self._headers = {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }

    def notify(self, method):
        self._post({"jsonrpc": "2.0", "method": method})

    def exchange(self, message):
        for text in self._post(message):
            answer = parse(text)
            if answer.get("id") == f"int {message['id']}" and "method" not in answer:
                return answer
        raise EOFError(f"no answer to {message['method']}")

    def close(self):
        if self._session:
            self._connection().request("DELETE", self._url.path, headers=self._headers_for({}))

    def _post(self, message):
        connection = self._connection()
        connection.request("POST", self._url.path, json.dumps(message).encode(), self._headers_for(message))
        response = connection.getresponse()
        self._session = response.headers.get("Mcp-Session-Id") or self._session
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/event-stream"):
            return _events(response)
        body = response.read()
        if response.status >= 300 and b'"jsonrpc"' not in body:
            raise RuntimeError(f"HTTP {response.status}: {body[:300].decode('utf-8', 'replace')}")
        return [body] if body else []

    def _connection(self):
        return http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=PATIENCE)

    def _headers_for(self, message):
        headers = dict(self._headers)
        if self._session:
            headers["Mcp-Session-Id"] = self._session
        if self.version == MODERN or self._session:
            headers["MCP-Protocol-Version"] = self.version
        if self.version == MODERN:
            headers["Mcp-Method"] = message["method"]
            if message["method"] == "tools/call":
                headers["Mcp-Name"] = message["params"]["name"]
        return headers


def text_of(result):
    """The text of a tool's answer."""
    return "\n".join(part.get("text", "") for part in result["content"])


def _events(response):
    """The data of each event of a stream, until the server ends it."""
    data = []
    for line in response:
        line = line.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            text, data = b"\n".join(data), []
            if text:
                yield text
