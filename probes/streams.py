"""A connection whose answers are streamed chat completions: `wire` with an eye on the body.

An answer without success (a 429, say) is no stream and is taken as it is: its status tells.
"""

from __future__ import annotations

from probes.completion import Completion
from probes.errors import ErrorKind
from probes.wire import Connection


class StreamConnection(Connection):
    """As `Connection`, and `first_token`, `tokens` and `chunks` are known when a request has ended."""

    __slots__ = ("_completion",)

    def send(self, request: bytes, token: object, now: int) -> None:
        """Send one request, whose answer is watched from here on."""
        self._completion = Completion()
        self.first_token = self.tokens = 0
        self.chunks = ()
        super().send(request, token, now)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body (httptools calls this)."""
        self._completion.feed(body, self.stamp)

    def complete(self) -> ErrorKind:
        """Return whether a stream that is framed completely is one by its own account."""
        if not 200 <= self.status < 300 or self._completion.complete:
            return ErrorKind.OK
        return ErrorKind.STREAM_INCOMPLETE

    def _end(self, error: ErrorKind, now: int) -> None:
        if self.token is not None:
            self.chunks = self._completion.received
            self.first_token = self.chunks[0] if self.chunks else 0
            self.tokens = self._completion.tokens
        super()._end(error, now)
