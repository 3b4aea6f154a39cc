"""FastMCP's client as an agent: one call at an address that is made until it brings its answer, see insist.py.

    fastmcp_client.py '{"url":…,"token":…,"mode":…,"insist":[tool,arguments,tickets]}'
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport

from insist import insist


async def main(job):
    transport = StreamableHttpTransport(job["url"], headers={"Authorization": f"Bearer {job['token']}"})
    tool, arguments, tickets = job["insist"]
    async with Client(transport, mode=job["mode"]) as client:
        attempts = await insist(lambda: client.call_tool(tool, arguments, raise_on_error=False), tickets)
        print(json.dumps({"version": client.protocol_version, "attempts": attempts}))


asyncio.run(main(json.loads(sys.argv[1])))
