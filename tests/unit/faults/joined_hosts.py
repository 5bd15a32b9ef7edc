"""Two network namespaces that a veth pair joins: `host` is under a fault, the peer is beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from chaos.contracts import Action, Fault
from chaos.kernel import Flow
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget

# echoes what it gets on TCP and UDP, IPv4 and IPv6, ports 8000 and 22
ECHO = """
import selectors, socket
select = selectors.DefaultSelector()
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    for port in (8000, 22):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            s = socket.socket(family, kind)
            if family == socket.AF_INET6:
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((host, port))
            if kind == socket.SOCK_STREAM:
                s.listen()
            select.register(s, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in select.select():
        s = key.fileobj
        if s.type == socket.SOCK_DGRAM:
            s.sendto(*s.recvfrom(99))
        else:
            c = s.accept()[0]
            c.sendall(b"x")
            c.close()
"""
# prints ok, silence, or the name of the error
ASK = """
import errno, socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, getattr(socket, "SOCK_" + kind))
s.settimeout(float(sys.argv[4]))
try:
    s.connect((host, port))
    if kind == "DGRAM":
        s.send(b"x")
    print("ok" if s.recv(9) else "closed")
except TimeoutError:
    print("silence")
except OSError as error:
    print(errno.errorcode[error.errno])
"""
HERE4, PEER4, HERE6, PEER6 = "10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"


class Pair:
    """The two, and what they say to each other."""

    def __init__(self) -> None:
        # nobody else is on the link, so no address needs to be looked for before it is used
        script = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up; echo up; exec sleep 300"
        sleep = ["unshare", "--net", "sh", "-c", script]
        self.started = [subprocess.Popen(sleep, stdout=subprocess.PIPE) for _ in range(2)]
        for process in self.started:
            assert process.stdout is not None
            process.stdout.readline()
        here, there = (process.pid for process in self.started)
        self.host = LocalTarget("host", here)
        self.peer = LocalTarget("peer", there)
        self.host.run(f"ip link add eth0 type veth peer name eth0 netns {there}")
        for target, v4, v6 in ((self.host, HERE4, HERE6), (self.peer, PEER4, PEER6)):
            target.run(f"ip address add {v4}/24 dev eth0; ip address add {v6}/64 dev eth0 nodad; ip link set eth0 up")
        for pid in (here, there):
            self._serve(pid)

    def _serve(self, pid: int) -> None:
        enter = ["nsenter", "--target", str(pid), "--net"]
        server = subprocess.Popen([*enter, sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
        self.started.append(server)
        assert server.stdout is not None
        server.stdout.readline()

    def ask(self, of: LocalTarget, kind: str, host: str, port: int = 8000, patience: float = 0.4) -> str:
        """What becomes of a request, seen by `of`."""
        return of.run(f"{sys.executable} -c '{ASK}' {kind} {host} {port} {patience}").stdout.strip()

    def ping(self, of: LocalTarget, host: str, patience: float = 0.4) -> bool:
        return of.run(f"ping -c 1 -W {patience} {host}", check=False).status == 0

    def close(self) -> None:
        for target in (self.host, self.peer):
            target.close()
        for process in self.started:
            process.kill()
            process.communicate()


@contextmanager
def joined() -> Iterator[Pair]:
    """Hold two that answer on TCP and UDP, IPv4 and IPv6, ports 8000 and 22."""
    made = Pair()
    try:
        yield made
    finally:
        made.close()


def apply(pair: Pair, fault: Fault[Any], control: tuple[Flow, ...] = ()) -> Any:
    """Apply a fault twice, see it, and return what was before; `control` are the flows of a controller."""
    seen = now(pair, fault)
    before = replace(seen, control=control) if control else seen
    assert fault.objection(before) is None
    assert is_clean(pair, fault, before)
    for _ in range(2):
        perform(pair, fault.apply(before))
    assert fault.is_applied(before, now(pair, fault))
    assert not is_clean(pair, fault, before)
    return before


def undo(pair: Pair, fault: Fault[Any], before: Any) -> None:
    """Revert it twice, and see it gone."""
    for _ in range(2):
        perform(pair, fault.revert(before))
    assert fault.is_reverted(before, now(pair, fault))
    assert is_clean(pair, fault, before)


def perform(pair: Pair, actions: list[Action]) -> None:
    for action in actions:
        pair.host.perform(action)


def now(pair: Pair, fault: Fault[Any]) -> Any:
    """What the fault reads of its host."""
    return read(pair.host, fault.reading())


def is_clean(pair: Pair, fault: Fault[Any], before: Any) -> bool:
    """Whether a fuse would take the host for clean."""
    return pair.host.run(Undo.of(map(pair.host.render, fault.revert(before))).clean, check=False).status == 0
