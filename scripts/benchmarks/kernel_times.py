"""When filters came to be in the hosts' kernels, as the kernels say: they tell at once whoever listens (rtnetlink(7)).

All namespaces share this machine's clock, so the times of different hosts compare.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from select import EPOLLIN, epoll

from tests.hosts import SshHosts, in_namespace_of

_GROUP_TC = 1 << 3  # RTNLGRP_TC
_NEW_FILTER = 44  # RTM_NEWTFILTER
_HEADER = struct.Struct("=IH")  # of a message: its length and its type


@contextmanager
def newest_filters(hosts: SshHosts) -> Iterator[Mapping[str, int]]:
    """Hold, for each host, when its newest filter came (CLOCK_MONOTONIC, ns)."""
    sockets = {listener.fileno(): (name, listener) for name in hosts.names for listener in [_listen(hosts, name)]}
    times, done = dict[str, int](), threading.Event()
    thread = threading.Thread(target=_note, args=(sockets, times, done))
    thread.start()
    try:
        yield times
    finally:
        done.set()
        thread.join()
        for _, listener in sockets.values():
            listener.close()


def _listen(hosts: SshHosts, name: str) -> socket.socket:
    with in_namespace_of(hosts.pid_of(name)):
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.bind((0, _GROUP_TC))
    return listener


def _note(sockets: Mapping[int, tuple[str, socket.socket]], times: dict[str, int], done: threading.Event) -> None:
    with epoll() as ready:
        for descriptor in sockets:
            ready.register(descriptor, EPOLLIN)
        while not done.is_set():
            for descriptor, _ in ready.poll(0.1):
                now = time.monotonic_ns()
                name, listener = sockets[descriptor]
                if _HEADER.unpack_from(listener.recv(65536))[1] == _NEW_FILTER:
                    times[name] = now
