"""The official Python SDK as an agent: lists, reads, makes the gated call; prints what it got as one JSON object.

    py_client.py '{"url":…,"token":…} or {"command":[…],"env":{…}}, with "mode", "read":[tool,arguments], "gated":…'

Or, with "insist":[tool,arguments,tickets], one call that is made until it brings its answer, see insist.py.
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from insist import insist


async def main(job):
    async with Client(transport(job), mode=job.get("mode", "auto")) as client:
        seen = {"version": client.protocol_version}
        if "insist" in job:
            tool, arguments, tickets = job["insist"]
            seen["attempts"] = await insist(lambda: client.call_tool(tool, arguments), tickets)
            return print(json.dumps(seen))
        seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
        for step in ("read", "gated"):
            if step in job:
                result = await client.call_tool(*job[step])
                seen[step] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        print(json.dumps(seen))


def transport(job):
    if "url" in job:
        headers = {"Authorization": f"Bearer {job['token']}"}
        return streamable_http_client(job["url"], http_client=create_mcp_http_client(headers=headers))
    program, *arguments = job["command"]
    return stdio_client(StdioServerParameters(command=program, args=arguments, env=job["env"]))


asyncio.run(main(json.loads(sys.argv[1])))
