"""The clients of the ladder: each makes one call and, as an agent does, makes it again until it brings its answer.

`insist` answers {"attempts": [{"seconds": …, "text": … or "error": …}]}, one for each time that the call was made.
"""

import json
import subprocess
import time
from pathlib import Path

from clients import Agent, ClaudeCode, Inspector, PythonSdk, TypeScriptSdkV1, TypeScriptSdkV2
from insist import MOST
from mock_model import MockModel
from report import Skip

HERE = Path(__file__).resolve().parent
# How a result begins that says: nothing was run yet, or it still runs; call again with the same arguments.
TICKETS = ("[NOT EXECUTED: waiting", "[STILL RUNNING")


class Scripted(Agent):
    """A client that is a program of ours around somebody's library; the repeats are made in one session."""

    patience = 600

    def insist(self, target, era, call):
        mode = "legacy" if era == "legacy" else "auto"
        return self._output(*self.command(), json.dumps(target | {"mode": mode, "insist": [*call, TICKETS]}))

    def command(self):
        raise NotImplementedError


class Python(Scripted, PythonSdk):
    def command(self):
        return str(self.home / "python/bin/python"), str(HERE / "py_client.py")


class FastMcp(Scripted):
    name = "FastMCP 4.1.0"

    def require(self):
        self.python = self.home / "fastmcp/bin/python"
        if not self.python.exists():
            raise Skip("not installed (setup.sh --fastmcp)")

    def command(self):
        return str(self.python), str(HERE / "fastmcp_client.py")


class Rmcp(Scripted):
    name = "rmcp 3.9.0"

    def require(self):
        self.program = self.home / "rmcp/debug/rmcp-agent"
        if not self.program.exists():
            raise Skip("not built (setup.sh --rmcp)")

    def command(self):
        return (str(self.program),)


class TypeScriptV1(Scripted, TypeScriptSdkV1):
    def command(self):
        return self.node, str(self.script), self.which


class TypeScriptV2(Scripted, TypeScriptSdkV2):
    def command(self):
        return self.node, str(self.script), self.which


class InspectorCli(Inspector):
    """Each call is a process and a session of its own, as in a script."""

    patience = 600
    good_ends = (0, 5)  # 5: the result is an error (isError), and is printed all the same

    def insist(self, target, era, call):
        tool, arguments = call
        attempts = []
        while len(attempts) < MOST:
            started = time.monotonic()
            try:
                result = self._cli(target, era, "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments))
                seen = {"text": result["content"][0]["text"]}
            except (RuntimeError, KeyError, subprocess.TimeoutExpired) as error:
                seen = {"error": f"{type(error).__name__}: {error}"}
            attempts.append({"seconds": time.monotonic() - started} | seen)
            if "text" in seen and not seen["text"].startswith(TICKETS):
                break
            time.sleep(1)
        return {"attempts": attempts}


class Claude(ClaudeCode):
    patience = 600

    def insist(self, target, era, call):
        tool = f"mcp__{self.SERVER}__{call[0]}"
        model = InsistingModel(tool, call[1])
        try:
            self._prompt(target, [tool], model.url)
        finally:
            model.close()
        return {"attempts": model.attempts}


class InsistingModel(MockModel):
    """A model that does as it is told: while the result says "call again", it calls again."""

    def __init__(self, tool, arguments):
        self.attempts, self._asked = [], {}
        super().__init__([(tool, arguments)])

    def answer(self, request):
        results = [block for message in request.get("messages", []) if isinstance(message.get("content"), list)
                   for block in message["content"] if block.get("type") == "tool_result"]
        if len(results) > len(self.attempts):
            self._keep(results[-1])
        message = super().answer(request)
        if message["stop_reason"] == "tool_use":
            self._asked.setdefault(len(results), time.monotonic())
        return message

    def _keep(self, result):
        content = result["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        ticket = text.startswith(TICKETS)
        if (ticket or result.get("is_error")) and len(self.calls) < MOST:
            self.calls.append(self.calls[0])
        said = "text" if ticket or not result.get("is_error") else "error"
        self.attempts.append({"seconds": time.monotonic() - self._asked[len(self.attempts)], said: text})
