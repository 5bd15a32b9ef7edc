"""Whether a lab serves: its gateway answers `GET /healthz` with 200 on loopback, and names no worker unhealthy.

The keeper waits for it. A gateway serves from its first healthy worker on, but a baseline that begins with one of three
would be none.

HTTP/1.0 by hand over a stream: the keeper needs nothing more, and httpx would double its start-up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from chaos.errors import Unreachable

_POLL = 0.2


async def wait_until_serving(endpoint: str, within: float, last_words: Callable[[], str]) -> None:
    """Return once the endpoint (HOST:PORT) is healthy. Raises Unreachable when that takes longer than `within` s."""
    deadline, last = time.monotonic() + within, "nothing"
    while (left := deadline - time.monotonic()) > 0:
        last, body = await _answer(endpoint, left)
        if " 200 " in last + " " and _all_healthy(body):
            return
        await asyncio.sleep(_POLL)
    raise Unreachable(
        f"http://{endpoint}/healthz did not answer 200 within {within:.0f} s; its last answer: {last}; {last_words()}"
    )


def _all_healthy(body: bytes) -> bool:
    """Whether every worker that the body names is healthy; a service that names none has said enough by its 200."""
    try:
        workers = json.loads(body).get("workers", {})
    except (ValueError, AttributeError):
        return True
    return all(state == "healthy" for state in workers.values())


async def _answer(endpoint: str, within: float) -> tuple[str, bytes]:
    """Return the status line and the body of `GET /healthz`; or what went wrong, and nothing."""
    host, _, port = endpoint.rpartition(":")
    try:
        async with asyncio.timeout(min(within, 10.0)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /healthz HTTP/1.0\r\nHost: {endpoint}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}", b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0].decode(errors="replace") or "an empty one", body
