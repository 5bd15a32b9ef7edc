"""A class of requests as bytes: everything that can be encoded before the load starts is.

Takes a plan and one of its classes; gives a function from the arrival's number to the bytes to send. A body without
placeholders is encoded once, and the function returns that very object each time. With placeholders, the parts
between them are; only their values and the Content-Length are made per request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b

from probes.plan import LoadPlan, RequestClass
from probes.url import Url

Encoder = Callable[[int], bytes]
_PLACEHOLDER = re.compile(r"(\{seq\}|\{rand\})")
_WITH_BODY = {"POST", "PUT", "PATCH"}  # these say Content-Length: 0 when they have none (RFC 9110, section 8.6)


def encoder(plan: LoadPlan, kind: RequestClass) -> Encoder:
    """Return a function from an arrival's number to its request, head and body."""
    head = _head(plan)
    if kind.body is None:
        return _always(head + (b"Content-Length: 0\r\n\r\n" if plan.method in _WITH_BODY else b"\r\n"))
    parts = _PLACEHOLDER.split(kind.body)
    if len(parts) == 1:
        body = kind.body.encode()
        return _always(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    return _templated(head + b"Content-Length: ", parts, plan.seed)


def _head(plan: LoadPlan) -> bytes:
    """Return the request line and the header fields; the plan's own win over the defaults."""
    url = Url.parse(plan.url)
    given = {name.lower() for name in plan.headers}
    defaults = {"Host": url.authority, "Accept": "*/*", "User-Agent": "gameday-probes"}
    chosen = {name: value for name, value in defaults.items() if name.lower() not in given} | dict(plan.headers)
    lines = [f"{plan.method} {url.target} HTTP/1.1", *(f"{name}: {value}" for name, value in chosen.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _always(data: bytes) -> Encoder:
    return lambda _seq: data


def _templated(head: bytes, parts: list[str], seed: int) -> Encoder:
    """Return an encoder that joins fixed parts with the values between them (every second part is a placeholder)."""
    fixed = [part.encode() for part in parts]
    holes = tuple((index, parts[index] == "{seq}") for index in range(1, len(parts), 2))
    key = blake2b(b"%d" % seed).digest()

    def encode(seq: int) -> bytes:
        number = b"%d" % seq
        filled = fixed.copy()
        for index, is_seq in holes:
            filled[index] = number if is_seq else _rand(key, number)
        body = b"".join(filled)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    return encode


def _rand(key: bytes, number: bytes) -> bytes:
    """Return 16 hexadecimal digits that look random and are the same whenever the same load is repeated."""
    return blake2b(number, digest_size=8, key=key).hexdigest().encode()
