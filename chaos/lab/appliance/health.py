"""Whether a worker is fit for traffic, judged from active checks and from what requests to it came to.

`Health` is the pure judgement; `watch` asks `GET /healthz` on a new connection each time, as a kept one would not see a
full accept queue. A worker that refuses or misses a check is ejected by that (settings `health_fall`, `health_rise`);
one whose requests fail in a row, by those (`passive_fall`), and then stays out for `ejection_time` at least.

The decision a reader would question: a 503 to a request does not count against a worker. It says "busy", and ejecting
the busy would bring the load of each down on the next; whether a worker is ready is what `/healthz` is for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chaos.lab.appliance.http1 import Headers, Pool
from chaos.lab.appliance.settings import GatewaySettings


class Health:
    """One worker's. `changed(healthy, cause, why)` is called on ejection (cause: check, requests) and readmission."""

    def __init__(self, settings: GatewaySettings, changed: Callable[[bool, str, str], None]) -> None:
        self._settings, self._changed = settings, changed
        self.healthy = False
        self._known = False
        self._passed = self._failed_checks = self._failed_requests = 0
        self._not_before = float("-inf")

    def check_passed(self, now: float) -> None:
        """Count a passed check; `now` in s. The first ever admits at once."""
        self._failed_checks = 0
        self._passed += 1
        enough = self._settings.health_rise if self._known else 1
        if not self.healthy and self._passed >= enough and now >= self._not_before:
            self._failed_requests = 0
            self._set(True, "check", "")

    def check_failed(self, why: str) -> None:
        """Count a failed check."""
        self._passed = 0
        self._failed_checks += 1
        if self.healthy and self._failed_checks >= self._settings.health_fall:
            self._set(False, "check", why)

    def request_passed(self) -> None:
        """Forget the failures before: only those in a row count."""
        self._failed_requests = 0

    def request_failed(self, now: float, why: str) -> None:
        """Count a request that could not be connected, got no answer, or a 5xx other than 503."""
        self._failed_requests += 1
        if self.healthy and self._failed_requests >= self._settings.passive_fall:
            self._not_before = now + self._settings.ejection_time
            self._set(False, "requests", why)

    def _set(self, healthy: bool, cause: str, why: str) -> None:
        self.healthy, self._known, self._passed = healthy, True, 0
        self._changed(healthy, cause, why)


class _Answer:
    """Takes the answer to a check: what is wrong with it, or nothing."""

    def __init__(self) -> None:
        self.why: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._status = 0

    def on_head(self, status: int, headers: Headers) -> None:
        del headers
        self._status = status

    def on_body(self, data: bytes) -> None:
        del data

    def on_end(self) -> None:
        self._settle("" if self._status == 200 else f"/healthz says {self._status}")

    def on_lost(self, why: str) -> None:
        self._settle(why)

    def _settle(self, why: str) -> None:
        if not self.why.done():
            self.why.set_result(why)


async def watch(health: Health, pool: Pool, settings: GatewaySettings) -> None:
    """Check for ever, from start to start `health_interval` s apart (or as long as a check takes)."""
    while True:
        started = time.monotonic()
        why = await _check(pool, settings.health_timeout)
        if why:
            health.check_failed(why)
        else:
            health.check_passed(time.monotonic())
        await asyncio.sleep(max(0.0, started + settings.health_interval - time.monotonic()))


async def _check(pool: Pool, timeout: float) -> str:
    """Return what is wrong, or nothing."""
    connection = None
    try:
        async with asyncio.timeout(timeout):
            connection = await pool.connect(timeout)
            answer = _Answer()
            connection.send(b"GET /healthz HTTP/1.1\r\nhost: %b\r\nconnection: close\r\n\r\n" % pool.authority, answer)
            return await answer.why
    except TimeoutError:
        return f"no answer to /healthz within {timeout:g} s"
    except OSError as error:
        return f"can't connect: {error}"
    finally:
        if connection is not None:
            connection.abort()
