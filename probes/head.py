"""The bytes of an httpx request in HTTP/1.1: its head, and how its body is framed. What could be read as another
request than was meant is refused here (RFC 9112, sections 2.2, 5 and 6), as h11 does for httpx's own transport.
"""

from __future__ import annotations

import re
from functools import lru_cache

import httpx

_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+\Z")  # RFC 9110, section 5.6.2


def encode_head(request: httpx.Request) -> bytes:
    """Return the request line and the header fields. Raises LocalProtocolError for what would not be one request."""
    target = request.extensions.get("target", request.url.raw_path)
    return _head(request.method, target, tuple(request.headers.raw))


@lru_cache(maxsize=64)  # most requests of a client have the head of one before
def _head(method: str, target: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    if not _TOKEN.match(method) or not target or any(not 0x21 <= byte < 0x7F for byte in target):
        raise httpx.LocalProtocolError(f"{method!r} {target!r} can't stand in a request line")
    for name, value in fields:
        if not _TOKEN.match(name.decode("latin-1")):
            raise httpx.LocalProtocolError(f"{name!r} can't be the name of a header field")
        if any(end in value for end in (b"\r", b"\n", b"\0")):
            raise httpx.LocalProtocolError(f"{name!r}: its value holds a line end or NUL, which would end it")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (
        method.encode(),
        target,
        b"".join([b"%b: %b\r\n" % field for field in fields]),
    )


def buffered_body(request: httpx.Request) -> bytes | None:
    """Return a body that is in memory, or None for one that is yet to be made."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return None


def framed(request: httpx.Request, head: bytes, body: bytes) -> bytes:
    """Return the head with a body in memory. Raises LocalProtocolError if it is not as long as the head says."""
    if not body and b"ength: " not in head and b"ransfer-" not in head:  # most requests have none: no look-up for these
        return head
    if is_chunked(request):
        return head + (chunk(body) if body else b"") + b"0\r\n\r\n"
    check_length(request, len(body))
    return head + body


def chunk(data: bytes) -> bytes:
    """Return data as a chunk (RFC 9112, section 7.1); an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def is_chunked(request: httpx.Request) -> bool:
    """Return whether the length of a body is told by its chunks."""
    return bool(request.headers.get("transfer-encoding", "").lower() == "chunked")


def check_length(request: httpx.Request, length: int, complete: bool = True) -> None:
    """Raise LocalProtocolError if a body of this length, which may be complete, is not what Content-Length says."""
    said = request.headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()):
        raise httpx.LocalProtocolError(f"Content-Length {said!r} is no number", request=request)
    if length > int(said) or (complete and length < int(said)):
        raise httpx.LocalProtocolError(
            f"the body has {'only ' if length < int(said) else 'at least '}{length} bytes; Content-Length says {said}",
            request=request,
        )
