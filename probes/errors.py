"""What can become of a request: the vocabulary of the `error` column of the samples.

An HTTP status is never an error here: a 503 is an answer, and its status says so. The numbers are written into
recordings beside their names, so new kinds go to the end.
"""

from __future__ import annotations

from enum import IntEnum, unique


class PlanError(ValueError):
    """A load plan that can't be carried out; the message says which key, what is allowed, what was found."""


@unique
class ErrorKind(IntEnum):
    """Why a request has no complete answer; OK when it has one."""

    OK = 0
    CONNECT_REFUSED = 1
    """Nobody listens on the port: the connection attempt was answered with a reset."""
    CONNECT_TIMEOUT = 2
    """No connection (name, TCP and TLS together) within `connect_timeout` or `timeout`, or the kernel gave up on it."""
    CONNECT_FAILED = 3
    """The connection attempt failed otherwise: no route, host unreachable, closed during the TLS handshake."""
    STALE_CONNECTION = 4
    """Sent on a kept-alive connection that the server closed without having received this request."""
    RESET = 5
    """The connection was reset (RST) while the request was out."""
    CLOSED_EARLY = 6
    """The server closed (FIN) before the answer was complete."""
    MALFORMED = 7
    """What came back is not HTTP/1.1."""
    TIMEOUT = 8
    """No complete answer within `timeout` of `sent`."""
    UNSENT = 9
    """Every connection stayed busy until the end: the load never got to send it."""
    CANCELLED = 10
    """Still out when the load stopped: told to stop, or at the end of the drain."""
    TLS_FAILED = 11
    """The TLS handshake failed, most often because the certificate could not be verified."""
    DNS_FAILED = 12
    """The host name could not be resolved."""
    LOCAL_RESOURCES = 13
    """This machine had no port, file descriptor or memory for another connection: says nothing about the target."""
    CONNECTION_LOST = 14
    """The kernel gave up on an open connection: host unreachable, no acknowledgement for too long."""

    TOO_LARGE = 15
    """The answer was longer than `response_limit`, and was cut off there."""
    FIRST_BYTE_TIMEOUT = 16
    """Nothing of the answer came within `first_byte_timeout` of `sent`."""
    STREAM_INCOMPLETE = 17
    """A streamed answer ended with neither a finish reason nor `[DONE]`, or with an error in place of a token."""
    UNHEALTHY = 18
    """A health probe's check was answered, and the answer says no: a status, an exit status, a value out of bounds."""
    REJECTED = 19
    """Locust counts it as failed: by its status, by the user's own check, or by an error that has no kind here."""


NAMES: tuple[str, ...] = tuple(kind.name.lower() for kind in ErrorKind)
