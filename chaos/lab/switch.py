"""The lab's Ethernet switch: joins virtual hosts over unix datagram sockets, one datagram a frame.

A port NAME of the switch is the socket `NAME.switch`; the host behind it receives on `NAME.host`. The switch learns
which port a source address lives behind (IEEE 802.1D 7.8), sends a frame to the port of its destination, and to every
other port while it does not know that one. A frame for a full port waits in that port's queue; when the queue is full
it is dropped, as in any switch.

`python -m chaos.lab.switch NAME...` runs it in the current folder. A process of its own, not a thread of the keeper:
forwarding is the one busy thing in the lab. A port has two sockets, since one that is connected to a host that was
switched off takes nothing from the host that is switched on again in its place.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections import deque
from pathlib import Path

QUEUE = 1000
"""Frames a port holds back, as many as an interface of Linux does (txqueuelen)."""
_BURST = 64
"""Frames taken from one port before the others are looked at."""
_FRAME = 65536


class Learning:
    """Which port to send a frame to."""

    def __init__(self, ports: int) -> None:
        self._others = [[other for other in range(ports) if other != port] for port in range(ports)]
        self._port_of: dict[bytes, int] = {}

    def route(self, source: int, frame: bytes) -> list[int]:
        """Return the ports a frame that came in by `source` goes out by; learn where its sender lives."""
        to, sender = frame[:6], frame[6:12]
        if not sender[0] & 1:  # a group address never sends
            self._port_of[sender] = source
        port = self._port_of.get(to)
        if port is None:
            return self._others[source]
        return [] if port == source else [port]


class Port:
    """One port: frames come in on a bound socket and go out on a connected one."""

    def __init__(self, name: str) -> None:
        own, self._host = f"{name}.switch", f"{name}.host"
        Path(own).unlink(missing_ok=True)
        self.incoming = _socket()
        self.incoming.bind(own)
        self.outgoing = _socket()
        self.queue: deque[bytes] = deque()

    def send(self, frame: bytes) -> bool:
        """Send or queue a frame; return whether frames are waiting now."""
        if len(self.queue) < QUEUE:
            self.queue.append(frame)
        return self.flush()

    def flush(self) -> bool:
        """Send what waits until the host's queue is full; return whether frames are still waiting."""
        while self.queue:
            try:
                self._send(self.queue[0])
            except BlockingIOError:
                return True
            except OSError:
                self.queue.clear()  # nobody is at this port: it is as if the cable were out
                return False
            self.queue.popleft()
        return False

    def _send(self, frame: bytes) -> None:
        """Send a frame to the host that is there now, which may not be the one that was there before."""
        try:
            self.outgoing.send(frame)
        except BlockingIOError:
            raise
        except OSError:
            self.outgoing.connect(self._host)
            self.outgoing.send(frame)


class Switch:
    """Forwards until the process is ended."""

    def __init__(self, names: list[str]) -> None:
        self._ports = [Port(name) for name in names]
        self._learning = Learning(len(names))
        self._selector = selectors.DefaultSelector()
        for number, port in enumerate(self._ports):
            self._selector.register(port.incoming, selectors.EVENT_READ, number)

    def run(self) -> None:
        """Forward frames; never returns."""
        while True:
            for key, events in self._selector.select():
                if events & selectors.EVENT_READ:
                    self._forward(key.data)
                elif not self._ports[key.data].flush():
                    self._selector.unregister(key.fileobj)

    def _forward(self, source: int) -> None:
        receive, route = self._ports[source].incoming.recv, self._learning.route
        for _ in range(_BURST):
            try:
                frame = receive(_FRAME)
            except BlockingIOError:
                return
            if len(frame) >= 14:
                for number in route(source, frame):
                    self._send(number, frame)

    def _send(self, number: int, frame: bytes) -> None:
        port = self._ports[number]
        waited = bool(port.queue)
        if port.send(frame) and not waited:
            self._selector.register(port.outgoing, selectors.EVENT_WRITE, number)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return made


if __name__ == "__main__":
    Switch(sys.argv[1:]).run()
