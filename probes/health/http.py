"""http: a request to a health endpoint, on a connection of its own.

Every check connects anew and closes. A kept-alive connection would go on being served by a process whose listener is
gone, that no longer accepts, or that a load balancer has taken out already: it answers "is this connection well?",
where a health check asks "would a new client be served?". Kubernetes' and HAProxy's checks connect anew as well.
"""

from __future__ import annotations

import functools
import ssl
from time import monotonic_ns
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, StrictInt

from probes.errors import ErrorKind
from probes.health._address import checked_url
from probes.health._failure import why_failed
from probes.health._probe import Outcome, Probe, Seconds, Target


class Http(Probe):
    """Ask an HTTP endpoint; any status 2xx or 3xx is well, or the one that is given."""

    kind: ClassVar[str] = "http"

    url: Annotated[Target, AfterValidator(checked_url)]
    """Where to; redirects are not followed."""
    every: Seconds = 0.1
    """The time from one check to the next, whatever becomes of them; at least 10ms."""
    method: Literal["GET", "HEAD"] = "GET"
    """The method of HTTP."""
    status: StrictInt | None = None
    """The one status that is well; any 2xx or 3xx by default (as in Kubernetes)."""

    async def check(self) -> Outcome:
        """Connect, ask, read the answer to its end, close."""
        import httpx

        try:
            # no context for plain HTTP: loading the authorities takes longer than the check
            verify: ssl.SSLContext | bool = _authorities() if self.url.startswith("https:") else False
            async with (
                httpx.AsyncClient(verify=verify, trust_env=False, timeout=None) as client,
                client.stream(self.method, self.url, headers={"Connection": "close"}) as answer,
            ):
                first, received = monotonic_ns(), 0
                async for chunk in answer.aiter_raw():
                    received += len(chunk)
            return Outcome(self._opinion(answer.status_code), answer.status_code, first, received)
        except (httpx.InvalidURL, UnicodeError):  # a host that no name can be, which httpx finds out here
            return Outcome(ErrorKind.DNS_FAILED)
        except httpx.RemoteProtocolError as error:  # it has one class for both, and says which in words
            broken_off = "disconnected" in str(error) or "peer closed" in str(error)
            return Outcome(ErrorKind.CLOSED_EARLY if broken_off else ErrorKind.MALFORMED)
        except httpx.ConnectError as error:
            return Outcome(why_failed(error))
        except httpx.TransportError as error:
            return Outcome(why_failed(error, ErrorKind.CONNECTION_LOST))

    def prepare(self) -> None:
        """Load the library, and the authorities where they are needed."""
        import httpx  # noqa: F401

        if self.url.startswith("https:"):
            _authorities()

    def _opinion(self, status: int) -> ErrorKind:
        well = status == self.status if self.status is not None else 200 <= status < 400
        return ErrorKind.OK if well else ErrorKind.UNHEALTHY


@functools.cache
def _authorities() -> ssl.SSLContext:
    return ssl.create_default_context()
