"""One call that is made again for as long as it brings a ticket, or the client itself gives up."""

import asyncio
import time

MOST = 12


async def insist(call, tickets):
    """What each attempt brought and after how many seconds; a ticket is a text that begins like one of `tickets`."""
    attempts, again = [], True
    while again and len(attempts) < MOST:
        if attempts:
            await asyncio.sleep(1)
        started = time.monotonic()
        try:
            result = await call()
            seen = {"text": result.content[0].text}
            again = seen["text"].startswith(tuple(tickets))
        except Exception as error:  # whatever it is: an agent would try again, and the table says what it was
            seen = {"error": f"{type(error).__name__}: {error}"}
        attempts.append({"seconds": time.monotonic() - started} | seen)
    return attempts
