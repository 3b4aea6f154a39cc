#!/usr/bin/env python3
"""An MCP server with one tool that must not run twice, made with the official Python SDK; speaks both eras.

    orders.py PORT FILE      each call of place_order is a line of FILE, on the disk before the call is answered
"""

import json
import os
import sys
import time

from mcp.server import MCPServer

server = MCPServer("orders", log_level="ERROR")


@server.tool()
def place_order(order: str, amount: int) -> str:
    """Places an order that is paid at once."""
    line = json.dumps({"order": order, "amount": amount, "at": time.time()}) + "\n"
    with open(sys.argv[2], "a") as book:
        book.write(line)
        book.flush()
        os.fsync(book.fileno())
    return f"placed {order}"


server.run("streamable-http", port=int(sys.argv[1]))
