"""Netlink attributes (`struct nlattr`, netlink(7)) as bytes, both ways: a length, a number, a payload, padded to 4."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEAD = struct.Struct("=HH")
_TYPE = 0x3FFF  # above it lie the flags for nesting and byte order


def pack(number: int, payload: bytes) -> bytes:
    """Return one attribute."""
    padding = b"\0" * (-len(payload) % 4)
    return _HEAD.pack(_HEAD.size + len(payload), number) + payload + padding


def unpack(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes in `raw` as number and payload."""
    at = 0
    while at + _HEAD.size <= len(raw):
        length, number = _HEAD.unpack_from(raw, at)
        yield number & _TYPE, raw[at + _HEAD.size : at + length]
        at += max(_HEAD.size, (length + 3) & ~3)
