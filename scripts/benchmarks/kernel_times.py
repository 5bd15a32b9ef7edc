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
from select import POLLIN, poll

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
    ready = poll()
    for descriptor in sockets:
        ready.register(descriptor, POLLIN)
    while not done.is_set():
        for descriptor, _ in ready.poll(100):
            now = time.monotonic_ns()
            name, listener = sockets[descriptor]
            if _NEW_FILTER in _types(listener.recv(65536)):
                times[name] = now


def _types(data: bytes) -> Iterator[int]:
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)
        yield kind
        data = data[max(_HEADER.size, (length + 3) & ~3) :]
