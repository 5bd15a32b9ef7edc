"""Keeps slow connections open: HOST PORT AUTHORITY TARGET CONNECTIONS RATE HOW, RATE in bytes/s, HOW read or send.

Prints `held= opened= failed= pace=` a second: how many are connected, were begun and could not be, and at how many
bytes/s those that are connected went since the line before.
"""

import errno
import os
import resource
import socket
import struct
import sys
import time

TICK = 0.2
WITHIN = 8  # ticks in which those that are missing are opened
SMALLEST = 1024  # bytes; the kernel makes 2304 of it, socket(7)
FIELD = b"X-Slow: a\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close(2) sends a reset
LATER = (errno.EAGAIN, errno.ENOTCONN)


class Client:
    """One connection; what it may move grows with the time since it was there."""

    def __init__(self, family: int, address: "tuple[object, ...]", request: bytes, rate: float, reads: bool) -> None:
        self.request, self.rate, self.reads = request, rate, reads
        self.since = self.moved = 0.0
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALLEST)
        code = self.socket.connect_ex(address)
        self.broken = 0 if code == errno.EINPROGRESS else code

    def turn(self, now: float) -> int:
        """Do what is due; return how many bytes moved. Raises OSError, EOFError where it is over."""
        if not self.since:
            broken = self.broken or self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if broken:
                raise OSError(broken, os.strerror(broken))
            self.socket.getpeername()
            self.since = now
        if self.reads and self.request:
            self.request = self.request[self.socket.send(self.request) :]
        allowed = int(self.rate * (now - self.since) - self.moved)
        if allowed < 1:
            return 0
        done = self.read(allowed) if self.reads else self.send(allowed)
        self.moved += done
        return done

    def read(self, allowed: int) -> int:
        """Read so many bytes at most."""
        data = self.socket.recv(min(allowed, 65536))
        if not data:
            raise EOFError
        return len(data)

    def send(self, allowed: int) -> int:
        """Send so many bytes of a head that never ends; what the server says is no matter until it hangs up."""
        if len(self.request) < allowed:
            self.request += FIELD * (allowed // len(FIELD) + 1)
        sent = self.socket.send(self.request[:allowed])
        self.request = self.request[sent:]
        try:
            if not self.socket.recv(65536):
                raise EOFError
        except BlockingIOError:
            pass
        return sent


def main(host: str, port: int, authority: str, target: str, connections: int, rate: float, reads: bool) -> None:
    """Keep them open for as long as the parent lives."""
    parent = os.getppid()
    most = connections + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    head = f"GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n"
    request = (head + "\r\n" if reads else head).encode("ascii")
    clients = []  # type: list[Client]
    opened = failed = moved = 0
    told = time.monotonic()
    while os.getppid() == parent:
        began = time.monotonic()
        for _ in range(min(connections - len(clients), connections // WITHIN + 1)):
            clients.append(Client(family, address, request, rate, reads))
            opened += 1
        kept = []
        for client in clients:
            try:
                moved += client.turn(time.monotonic())
            except (OSError, EOFError) as error:
                if isinstance(error, EOFError) or error.errno not in LATER:
                    failed += not client.since
                    client.socket.close()
                    continue
            kept.append(client)
        clients = kept
        held = sum(client.since > 0 for client in clients)
        if began - told >= 1:
            pace = moved / max(1, held) / (began - told)
            sys.stdout.write(f"held={held} opened={opened} failed={failed} pace={pace:.3f}\n")
            sys.stdout.flush()
            told, moved = began, 0
        time.sleep(max(0.01, TICK - (time.monotonic() - began)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), float(sys.argv[6]),
         sys.argv[7] == "read")  # fmt: skip
