"""Whether a lab serves: its gateway answers `GET /healthz` with 200 on loopback. The keeper waits for it.

HTTP/1.0 by hand over a stream: the keeper needs nothing more, and httpx would double its start-up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chaos.errors import Unreachable

_POLL = 0.2


async def wait_until_serving(endpoint: str, within: float, last_words: Callable[[], str]) -> None:
    """Return once the endpoint (HOST:PORT) is healthy. Raises Unreachable when that takes longer than `within` s."""
    deadline, last = time.monotonic() + within, "nothing"
    while (left := deadline - time.monotonic()) > 0:
        last = await _status_line(endpoint, left)
        if " 200 " in last + " ":
            return
        await asyncio.sleep(_POLL)
    raise Unreachable(
        f"http://{endpoint}/healthz did not answer 200 within {within:.0f} s; its last answer: {last}; {last_words()}"
    )


async def _status_line(endpoint: str, within: float) -> str:
    """Return the status line of `GET /healthz`, or what went wrong."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(min(within, 10.0)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /healthz HTTP/1.0\r\nHost: {endpoint}\r\n\r\n".encode())
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    return line.decode(errors="replace").strip() or "an empty one"
