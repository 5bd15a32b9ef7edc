"""icmp: whether a host answers an echo request (RFC 792, RFC 4443).

An unprivileged ping socket is used where net.ipv4.ping_group_range allows it (icmp(7)), a raw one where the process
may have that; where neither may be opened the probe objects. On both the kernel passes on only what comes from the
peer, and an answer is told from all else by the random bytes that it echoes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from time import monotonic_ns
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from probes.errors import ErrorKind
from probes.health._address import split_address
from probes.health._failure import why_failed
from probes.health._probe import Outcome, Probe, Target

_PROTOCOL = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
_REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
_REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
_HEAD = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number


def _address(text: str) -> str:
    split_address(text)
    return text


class Icmp(Probe):
    """Send an ICMP echo request; well when its reply comes."""

    kind: ClassVar[str] = "icmp"

    address: Annotated[Target, AfterValidator(_address)]
    """The host; a port behind it is left out, so that an endpoint may stand here."""

    async def check(self) -> Outcome:
        """Send one request and wait for its reply."""
        loop, host = asyncio.get_running_loop(), split_address(self.address)[0]
        try:
            family, _, _, _, peer = (await loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM))[0]
            with _open(family) as sock:
                sock.connect(peer)
                token = os.urandom(16)
                await loop.sock_sendall(sock, _request(family, token))
                while not _is_reply(answer := await loop.sock_recv(sock, 2048), sock, token):
                    pass
                return Outcome(ErrorKind.OK, first=monotonic_ns(), received=len(answer))
        except (OSError, UnicodeError) as error:
            return Outcome(why_failed(error))

    def objection(self) -> str | None:
        """Return why no echo request can leave this machine, or None."""
        family = socket.AF_INET6 if ":" in split_address(self.address)[0] else socket.AF_INET
        try:
            _open(family).close()
        except OSError as error:
            return (
                f"neither an unprivileged ping socket nor a raw one can be opened here ({error.strerror}): let "
                "net.ipv4.ping_group_range include a group of this user, or run with CAP_NET_RAW"
            )
        return None


def _open(family: socket.AddressFamily | int) -> socket.socket:
    """Open a ping socket, else a raw one; which of them it is shows in its type."""
    protocol = _PROTOCOL[socket.AddressFamily(family)]
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
    except PermissionError:
        sock = socket.socket(family, socket.SOCK_RAW, protocol)
    sock.setblocking(False)
    return sock


def _request(family: int, token: bytes) -> bytes:
    """Return an echo request. For IPv6 the kernel puts in the checksum, and the identifier too on a ping socket."""
    kind = _REQUEST[socket.AddressFamily(family)]
    identifier = int.from_bytes(token[:2], "big")
    checksum = _checksum(_HEAD.pack(kind, 0, 0, identifier, 1) + token)
    return _HEAD.pack(kind, 0, checksum, identifier, 1) + token


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _is_reply(packet: bytes, sock: socket.socket, token: bytes) -> bool:
    if sock.type == socket.SOCK_RAW and sock.family == socket.AF_INET:  # comes with its IP header: raw(7)
        packet = packet[(packet[0] & 0x0F) * 4 :]
    return packet[:1] == bytes([_REPLY[socket.AddressFamily(sock.family)]]) and packet[_HEAD.size :] == token
