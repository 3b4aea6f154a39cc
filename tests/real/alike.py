#!/usr/bin/env python3
"""Is the broker invisible where it allows all? Each message that an agent reads, with it and without, byte for byte.

    alike.py            server-everything over stdio, HTTP+SSE and streamable HTTP; two Python servers over stdio

The official suite covers streamable HTTP only; this covers the rest. A script of messages is told to a server
directly and through the broker, over the same transport on both sides. What comes must be the same text, but for
times and identifiers that a server makes by chance. Exit code 1 when something differs.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backends import free_port, wait_for
from broker import binary
from run import HERE, HOME, PYTHON
from wires import Sse, Stdio, Streamable, without_chance

TOKEN = "alike-agent-token-0123456789abcdef"
# server-everything binds every interface; these tests stay on loopback.
LOOPBACK = """import net from "node:net";
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  if (!Number.isNaN(Number(given[0])) && typeof given[1] !== "string") given.splice(1, 0, "127.0.0.1");
  return listen.apply(this, given);
};
"""


def request(number, method, **params):
    message = {"jsonrpc": "2.0", "id": number, "method": method}
    return json.dumps(message | ({"params": params} if params else {}), ensure_ascii=False)


def call(number, tool, **arguments):
    return request(number, "tools/call", name=tool, arguments=arguments)


def greeting(version):
    return [
        request(0, "initialize", protocolVersion=version,
                capabilities={"roots": {"listChanged": True}, "sampling": {}, "elicitation": {}},
                clientInfo={"name": "alike", "version": "1"}),
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
    ]


def everything(version):
    """The whole protocol, as server-everything has it."""
    slow = {"name": "trigger-long-running-operation", "arguments": {"duration": 0.6, "steps": 3}}
    return greeting(version) + [
        request("ping-1", "ping"),
        request(1, "tools/list"),
        call(2, "echo", message="ä \" \\ \u2028 \U0001f600"),
        ' { "jsonrpc" : "2.0", "id" : 3 , "method":"tools/call", "params":{"arguments":{"a":1e2,"b":0.5},"name":"get-sum"} } ',
        call(4, "echo", wrong=1),
        call(5, "no-such-tool"),
        request(6, "tools/call", **slow, _meta={"progressToken": "t-6"}),
        request(7, "tools/call", **slow, _meta={"progressToken": 7}),
        call(8, "get-tiny-image"), call(9, "get-annotated-message", messageType="error", includeImage=False),
        call(10, "get-structured-content", location="Chicago"), call(11, "get-resource-links", count=2),
        request(20, "resources/list"), request(21, "resources/templates/list"),
        request(22, "resources/read", uri="demo://resource/dynamic/text/1"),
        request(23, "resources/read", uri="demo://no/such"),
        request(24, "resources/subscribe", uri="demo://resource/dynamic/text/1"),
        request(25, "resources/unsubscribe", uri="demo://resource/dynamic/text/1"),
        request(30, "prompts/list"), request(31, "prompts/get", name="simple-prompt"),
        request(32, "prompts/get", name="args-prompt", arguments={"city": "Bern"}),
        request(33, "completion/complete", ref={"type": "ref/prompt", "name": "completable-prompt"},
                argument={"name": "department", "value": "E"}),
        request(40, "logging/setLevel", level="debug"), request(41, "logging/setLevel", level="loudest"),
        call(50, "trigger-sampling-request", prompt="hello", maxTokens=5),
        call(51, "trigger-elicitation-request"), call(52, "get-roots-list"),
        '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99,"reason":"none such"}}',
        '{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
        request(60, "no/such/method", x=12345678901234567890123), request("ü", "ping"),
    ]


def plain(tool):
    """What every server has."""
    return greeting("2025-06-18") + [
        request("p", "ping"), request(1, "tools/list"), call(2, tool), call(3, "no-such-tool"),
        request(4, "resources/list"), request(5, "prompts/list"), request(6, "no/such/method"),
    ]


def told(wire, script):
    """What each message of the script brought, in no order beyond that of the script."""
    with contextlib.closing(wire):
        return [(text, sorted(map(without_chance, wire.turn(text)))) for text in script]


def side_by_side(wires, script):
    with ThreadPoolExecutor() as pool:
        return list(pool.map(told, wires, [script] * len(wires)))


def compare(name, direct, brokered):
    """Prints what differs; how many of the script's messages brought something else."""
    bad = [(text, a, b) for (text, a), (_, b) in zip(direct, brokered, strict=True) if a != b]
    for text, a, b in bad:
        print(f"    {text}")
        print("".join(f"      direct  {line[:400]}\n" for line in a if line not in b), end="")
        print("".join(f"      through {line[:400]}\n" for line in b if line not in a), end="")
    messages = sum(len(came) for _, came in direct)
    print(f"{'FAIL' if bad else 'ok':5} {name}: {len(direct)} told, {messages} came, {len(bad)} differ", flush=True)
    return len(bad)


@contextlib.contextmanager
def running(command, ready, log, environment=None):
    with open(log, "ab") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        wait_for(f"{command[0]} to listen", ready)
        yield
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def listens(port):
    def probe():
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", port)) == 0
    return probe


def main():
    if Path(sys.prefix).resolve() != (HOME / "python").resolve():
        if not PYTHON.exists():
            sys.exit(f"nothing is installed under {HOME}: run {HERE / 'setup.sh'} --clients first")
        os.execv(PYTHON, [str(PYTHON), __file__, *sys.argv[1:]])
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    with tempfile.TemporaryDirectory(prefix="countersign-alike-") as folder, contextlib.ExitStack() as stack:
        sys.exit(1 if tell(Path(folder), stack) else 0)


def tell(folder, stack):
    modules = HOME / "clients/node_modules"
    node = next(iter(modules.glob("node-linux-*/bin/node")), "node")
    (folder / "loopback.mjs").write_text(LOOPBACK)
    server = [str(node), "--import", str(folder / "loopback.mjs"),
              str(modules / "@modelcontextprotocol/server-everything/dist/index.js")]
    ports = {manner: free_port() for manner in ("sse", "streamableHttp")}
    for manner, port in ports.items():
        environment = os.environ | {"PORT": str(port)}
        stack.enter_context(running([*server, manner], listens(port), folder / f"{manner}.log", environment))
    aws = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "FASTMCP_LOG_LEVEL": "ERROR"}
    programs = HOME / "python/bin"
    pipes = {
        "everything": ([*server, "stdio"], {}, everything("2025-11-25")),
        "cloudtrail": ([str(programs / "awslabs.cloudtrail-mcp-server")], aws, plain("lookup_events")),
        "eks": ([str(programs / "awslabs.eks-mcp-server")], aws, plain("get_eks_metrics_guidance")),
    }
    urls = {"sse": (f"http://127.0.0.1:{ports['sse']}/sse", Sse, "/sse", "2024-11-05"),
            "http": (f"http://127.0.0.1:{ports['streamableHttp']}/mcp", Streamable, "", "2025-06-18")}
    door = free_port()
    at = f"http://127.0.0.1:{door}"
    config = folder / "countersign.toml"
    config.write_text(configured(door, folder, pipes, urls))
    serve = [binary(), "serve", "--config", str(config)]
    stack.enter_context(running(serve, listens(door), folder / "broker.log"))
    different = 0
    for name, (command, environment, script) in pipes.items():
        errors = folder / f"{name}.log"
        bridge = [binary(), "stdio", "--server", name, "--url", at, "--token", TOKEN]
        wires = Stdio(command, environment, errors), Stdio(bridge, {}, errors)
        different += compare(f"{name}, stdio", *side_by_side(wires, script))
    for name, (url, wire, tail, version) in urls.items():
        script = everything(version)
        wires = wire(url, TOKEN), wire(f"{at}/mcp/{name}{tail}", TOKEN)
        different += compare(f"everything, {name}", *side_by_side(wires, script))
    return different


def configured(door, folder, pipes, urls):
    policy = folder / "allow.json"
    policy.write_text('{ "version": "1", "default": "allow" }\n')
    lines = [f'listen = "127.0.0.1:{door}"', f'store = "sqlite:{folder / "countersign.db"}"']
    for name, (command, environment, _) in pipes.items():
        env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in environment.items())
        lines += [f"[servers.{name}]", f"command = {json.dumps(command)}", f"env = {{ {env} }}"]
    for name, (url, *_) in urls.items():
        # How the old one speaks is found out.
        lines += [f"[servers.{name}]", f"url = {json.dumps(url)}"]
    secret = folder / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    return "\n".join([*lines, "[grants.alike]", f'token = "file:{secret}"', 'servers = ["*"]',
                      f"policy = {json.dumps(str(policy))}", ""])


if __name__ == "__main__":
    main()
