"""Real MCP clients as agents: the official SDKs, MCP Inspector and Claude Code, each driven from outside.

An agent gets a target (an address with a token, or a command), an era, a call that reads and a call that waits;
it answers {"tools": [names], "read": result, "gated": result, "version": what was negotiated, if it says}.
"""

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

from mock_model import MockModel
from report import Skip

HERE = Path(__file__).resolve().parent
ERAS = {"legacy": "2025-11-25", "modern": "2026-07-28"}
PATIENCE = 90


class Agent:
    """One client; a subclass says where it is installed, which eras it speaks and how it is run."""

    name: str
    eras = ("legacy", "modern")
    patience = PATIENCE
    good_ends = (0,)  # exit codes that come with an answer

    def __init__(self, home, folder):
        self.home, self.folder = home, folder
        # Clients keep settings and histories in HOME; they get one of their own.
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
        self.require()

    def require(self):
        """Skips where the client is not installed."""

    def run(self, target, era, read, gated):
        raise NotImplementedError

    def _output(self, *command, environment=()):
        """The client's stdout as JSON; its stderr when it fails."""
        done = subprocess.run(
            command, env=self.environment | dict(environment), cwd=self.folder, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=self.patience)
        if done.returncode not in self.good_ends:
            raise RuntimeError(f"{self.name} ended with {done.returncode}: {(done.stderr or done.stdout)[-600:]}")
        return json.loads(done.stdout)


class PythonSdk(Agent):
    name = "Python SDK 2.3.0"

    def run(self, target, era, read, gated):
        mode = "legacy" if era == "legacy" else "auto"
        job = target | {"mode": mode, "read": read, "gated": gated}
        return self._output(str(self.home / "python/bin/python"), str(HERE / "py_client.py"), json.dumps(job))


class NodeAgent(Agent):
    """A client that runs on the pinned Node."""

    def require(self):
        modules = self.home / "clients/node_modules"
        programs = list(modules.glob("node-linux-*/bin/node"))
        if not programs:
            raise Skip("not installed (setup.sh --clients)")
        self.node, self.modules = str(programs[0]), modules


class TypeScriptSdk(NodeAgent):
    which: str

    def require(self):
        super().require()
        # Beside node_modules, where its imports are looked for; others may be reading it.
        self.script = self.home / "clients/sdk.mjs"
        copy = self.script.with_name(f"sdk-{uuid.uuid4()}.mjs")
        shutil.copyfile(HERE / "clients/sdk.mjs", copy)
        copy.replace(self.script)

    def run(self, target, era, read, gated):
        mode = "legacy" if era == "legacy" else "auto"
        job = target | {"mode": mode, "read": read, "gated": gated}
        return self._output(self.node, str(self.script), self.which, json.dumps(job))


class TypeScriptSdkV1(TypeScriptSdk):
    name, which, eras = "TypeScript SDK 1.32.2", "v1", ("legacy",)


class TypeScriptSdkV2(TypeScriptSdk):
    name, which = "TypeScript SDK 2.4.0", "v2"


class Inspector(NodeAgent):
    name = "MCP Inspector 2.12.0"

    def run(self, target, era, read, gated):
        tools = self._cli(target, era, "tools/list")["tools"]
        seen = {"tools": [tool["name"] for tool in tools], "version": None}
        for step, (tool, arguments) in {"read": read, "gated": gated}.items():
            seen[step] = self._cli(target, era, "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return seen

    def _cli(self, target, era, method, *options):
        if "url" in target:
            where = [target["url"], "--transport", "http", "--header", f"Authorization: Bearer {target['token']}"]
            command = []
        else:
            where = [word for pair in target["env"].items() for word in ("-e", "=".join(pair))]
            command = ["--", *target["command"]]
        program = str(self.modules / "@modelcontextprotocol/inspector/" / self._entry())
        answer = self._output(
            self.node, program, "--cli", *where, "--protocol-era", era, "--quiet", "--format", "json",
            "--method", method, *options, *command)
        return answer.get("result", answer)

    def _entry(self):
        package = json.loads((self.modules / "@modelcontextprotocol/inspector/package.json").read_text())
        return package["bin"]["mcp-inspector"]


class ClaudeCode(Agent):
    """A whole agent, headless; its model is ours, so what it does is known and nothing leaves the machine."""

    name, eras = "Claude Code 2.1.329", ("its own",)
    SERVER = "real"

    def require(self):
        programs = list((self.home / "agents/node_modules/@anthropic-ai").glob("claude-code-linux-*/claude"))
        if not programs:
            raise Skip("not installed (setup.sh --agents)")
        self.program = str(programs[0])

    def run(self, target, era, read, gated):
        tools = [f"mcp__{self.SERVER}__{tool}" for tool, _ in (read, gated)]
        model = MockModel(list(zip(tools, (read[1], gated[1]))))
        try:
            self._prompt(target, tools, model.url)
        finally:
            model.close()
        prefix = f"mcp__{self.SERVER}__"
        seen = {"tools": [tool.removeprefix(prefix) for tool in model.tools if tool.startswith(prefix)], "version": None}
        for step, result in zip(("read", "gated"), model.results):
            seen[step] = {"content": _blocks(result["content"]), "isError": result.get("is_error", False)}
        return seen

    def _prompt(self, target, tools, model):
        if "url" in target:
            server = {"type": "http", "url": target["url"], "headers": {"Authorization": f"Bearer {target['token']}"}}
        else:
            program, *arguments = target["command"]
            server = {"command": program, "args": arguments, "env": target["env"]}
        config = self.folder / "claude-mcp.json"
        config.write_text(json.dumps({"mcpServers": {self.SERVER: server}}))
        self._output(
            self.program, "-p", "call the tools", "--mcp-config", str(config), "--strict-mcp-config",
            "--allowedTools", ",".join(tools), "--output-format", "json",
            environment={
                "ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "dummy",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1",
                "DISABLE_ERROR_REPORTING": "1", "DISABLE_AUTOUPDATER": "1",
                # Without these two the first turn goes out before the MCP tools are known.
                "ENABLE_TOOL_SEARCH": "false", "MCP_CONNECTION_NONBLOCKING": "0",
            })


def _blocks(content):
    return content if isinstance(content, list) else [{"type": "text", "text": content}]


ALL = [PythonSdk, TypeScriptSdkV1, TypeScriptSdkV2, Inspector]
AGENTS = [ClaudeCode]
