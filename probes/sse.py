"""Server-sent events out of the bytes of a body, however they were cut into packets.

The grammar is that of the HTML standard (section 9.2.5): lines end with LF, CRLF or CR; a line without a colon or with
one at its start is no data; the `data` lines of an event are joined by LF, and an empty line ends the event. An event
that the stream breaks off in is never given out.
"""

from __future__ import annotations


class EventDecoder:
    """Takes the body piece by piece and gives the data of each event that is complete."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that this piece completes, in order; events without data are left out."""
        buffer = self._rest + data if self._rest else data
        if b"\r" in buffer:
            buffer = _with_line_feeds(buffer)
        *events, self._rest = buffer.split(b"\n\n")
        return [found for event in events if (found := _data(event)) is not None]


def _with_line_feeds(buffer: bytes) -> bytes:
    """Return the buffer with every line end a LF; a CR at its very end waits for the LF that may follow."""
    whole, held = (buffer[:-1], b"\r") if buffer.endswith(b"\r") else (buffer, b"")
    return whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held


def _data(event: bytes) -> bytes | None:
    """Return the data of one event, or None where it has none (a comment, a retry time)."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]  # the form that nearly all have
    lines = [line for line in event.split(b"\n") if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines) if lines else None
