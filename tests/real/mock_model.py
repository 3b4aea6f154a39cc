"""A model that always does the same: it asks for each tool of a list in turn, then says that it is done.

It speaks as much of the Messages API as a headless agent needs, streamed or not, and keeps what the agent sent:
the names of the tools it offered and the results it brought back.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MockModel:
    """`calls` is a list of (tool, arguments); `results` fills with the tool_result blocks, in that order."""

    def __init__(self, calls):
        self.calls, self.tools, self.results = calls, [], []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request):
        """The next message, as the Messages API has it."""
        offered = [tool["name"] for tool in request.get("tools", []) if "name" in tool]
        results = [block for message in request.get("messages", []) for block in _blocks(message)
                   if block.get("type") == "tool_result"]
        asked = self.calls[len(results)][0] if len(results) < len(self.calls) else None
        if asked in offered:
            self.tools = offered
            content = {"type": "tool_use", "id": f"toolu_{len(results)}", "name": asked,
                       "input": self.calls[len(results)][1]}
        else:
            content = {"type": "text", "text": "done"}
        if len(results) > len(self.results):
            self.results = results
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "model": request.get("model", "mock"),
            "content": [content], "stop_reason": "tool_use" if content["type"] == "tool_use" else "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
        }

    def _handler(model):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or "{}")
                path = self.path.split("?")[0]
                if path == "/v1/messages":
                    message = model.answer(request)
                    if request.get("stream"):
                        self._send("text/event-stream", _stream(message))
                    else:
                        self._send("application/json", json.dumps(message))
                else:
                    self._send("application/json", '{"input_tokens": 1}')

            def do_GET(self):
                self._send("application/json", "{}")

            def do_HEAD(self):
                self._send("application/json", "")

            def _send(self, kind, text):
                data = text.encode()
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                """Quiet: what matters is kept as data."""

        return Handler


def _blocks(message):
    content = message.get("content")
    return content if isinstance(content, list) else []


def _stream(message):
    """The message as the events of a stream: opened empty, its one block filled, then stopped."""
    block = message["content"][0]
    if block["type"] == "text":
        empty, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty, delta = block | {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events = [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
