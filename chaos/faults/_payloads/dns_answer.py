"""Answers for name servers: ACTION DELAY NAMES ADDRESSES, the last two joined by commas. Prints `asked=` and `met=`.

The file `servers` beside it has a line for each name server: the port on loopback at which it is stood in for, its
address, and the address that is asked in its stead. What is not to be met is asked there, by sockets with a mark that
our nftables table lets pass, and answered with what it says.
"""

import os
import socket
import socketserver
import struct
import sys
import threading
import time
from io import BufferedIOBase
from ipaddress import ip_address
from pathlib import Path

MARK = 0x67616D65
RCODES = {"refused": 5, "servfail": 2, "nxdomain": 3}
A, AAAA = 1, 28
PATIENCE = 10.0


class Answers:
    """What is to be answered, and how often it was."""

    def __init__(self, action: str, delay: float, names: "list[str]", addresses: "list[str]") -> None:
        self.action, self.delay, self.names = action, delay, names
        self.addresses = [ip_address(address) for address in addresses]
        self.asked = self.met = 0
        self._lock = threading.Lock()

    def to(self, message: bytes, forward: str, kind: int) -> "bytes | None":
        """Return the answer to a question that came by a socket of that kind; None for silence."""
        name, sort, end = question(message)
        meets = end > 0 and (not self.names or any(name == n or name.endswith("." + n) for n in self.names))
        with self._lock:
            self.asked += 1
            self.met += meets
        if not meets:
            return asked(message, forward, kind)
        if self.action == "delay":
            time.sleep(self.delay)
            return asked(message, forward, kind)
        if self.action == "address":
            return answer(message, end, 0, self._records(sort))
        return answer(message, end, RCODES[self.action], [])

    def _records(self, sort: int) -> "list[bytes]":
        wanted = {A: 4, AAAA: 6}.get(sort)
        return [address.packed for address in self.addresses if address.version == wanted]


def question(message: bytes) -> "tuple[str, int, int]":
    """Return name, type and end of the one question of a message (RFC 1035, 4.1.2); an end of 0 where it has none."""
    labels, at = [], 12
    try:
        flags, count = struct.unpack_from("!HH", message, 2)
        while message[at]:
            labels.append(message[at + 1 : at + 1 + message[at]].decode("ascii", "replace").lower())
            at += 1 + message[at]
        (sort,) = struct.unpack_from("!H", message, at + 1)
    except (IndexError, struct.error):
        return "", 0, 0
    ours = count == 1 and not flags & 0xF800 and at + 5 <= len(message)  # a question, of the ordinary kind
    return ".".join(labels), sort, at + 5 if ours else 0


def answer(message: bytes, end: int, code: int, records: "list[bytes]") -> bytes:
    """Return an answer with that code and these addresses, which nobody is to remember (a TTL of 0)."""
    flags = 0x8080 | (message[2] & 0x01) << 8 | code
    header = message[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    named = [struct.pack("!HHHIH", 0xC00C, A if len(r) == 4 else AAAA, 1, 0, len(r)) + r for r in records]
    return header + message[12:end] + b"".join(named)


def asked(message: bytes, server: str, kind: int) -> "bytes | None":
    """Return what a name server answers, or None where it does not."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    try:
        with socket.socket(family, kind) as made:
            made.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_MARK", 36), MARK)
            made.settimeout(PATIENCE)
            made.connect((server, 53))
            if kind == socket.SOCK_DGRAM:
                made.send(message)
                return made.recv(65535)
            made.sendall(struct.pack("!H", len(message)) + message)
            with made.makefile("rb") as said:
                return framed(said)
    except OSError:
        return None


def framed(stream: BufferedIOBase) -> "bytes | None":
    """Return one message of a TCP stream (RFC 1035, 4.2.2), or None at its end."""
    head = stream.read(2)
    return bytes(stream.read(struct.unpack("!H", head)[0])) if len(head) == 2 else None


def serve(answers: Answers, port: int, server: str, forward: str) -> None:
    """Stand in for a name server at a port of loopback, over UDP and TCP."""

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            said = answers.to(self.request[0], forward, socket.SOCK_DGRAM)
            if said:
                self.request[1].sendto(said, self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            message = framed(self.rfile)
            while message:
                said = answers.to(message, forward, socket.SOCK_STREAM)
                if said is None:
                    return
                self.wfile.write(struct.pack("!H", len(said)) + said)
                message = framed(self.rfile)

    inet6 = ":" in server
    host, family = ("::1", socket.AF_INET6) if inet6 else ("127.0.0.1", socket.AF_INET)

    class Udp(socketserver.ThreadingUDPServer):
        address_family, daemon_threads, max_packet_size = family, True, 65535

    class Tcp(socketserver.ThreadingTCPServer):
        address_family, daemon_threads, allow_reuse_address, request_queue_size = family, True, True, 100

    for made in (Udp((host, port), Datagram), Tcp((host, port), Stream)):
        threading.Thread(target=made.serve_forever, daemon=True).start()


def main(action: str, delay: str, names: str, addresses: str) -> None:
    """Serve for as long as the parent lives."""
    parent = os.getppid()
    threading.stack_size(256 * 1024)
    answers = Answers(action, float(delay), [n for n in names.split(",") if n], [a for a in addresses.split(",") if a])
    for line in Path("servers").read_text().splitlines():
        port, server, forward = line.split()
        serve(answers, int(port), server, forward)
    told = (-1, -1)
    while os.getppid() == parent:
        if told != (answers.asked, answers.met):
            told = (answers.asked, answers.met)
            sys.stdout.write(f"asked={told[0]} met={told[1]}\n")
            sys.stdout.flush()
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:5])
