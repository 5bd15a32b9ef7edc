"""When filters came to be in the hosts' kernels, as the kernels say: they tell at once whoever listens (rtnetlink(7)).

`python -m scripts.benchmarks.kernel_times PID...` listens in the network namespace of each process, as a process of its
own that is served before others (SCHED_FIFO): whoever else is busy does not make a time later than it was. It says
`ready`, and, once its standard input ends, as JSON when the newest filter came to each, in ns of CLOCK_MONOTONIC. All
namespaces share this machine's clock, so the times of different hosts compare.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from select import EPOLLIN, epoll

from scripts.benchmarks.processes import ROOT, BenchError, python
from tests.hosts import SshHosts, in_namespace_of

_GROUP_TC = 1 << 3  # RTNLGRP_TC
_NEW_FILTER = 44  # RTM_NEWTFILTER
_HEADER = struct.Struct("=IH")  # of a message: its length and its type


@contextmanager
def newest_filters(hosts: SshHosts) -> Iterator[dict[str, int]]:
    """Listen meanwhile; afterwards the dictionary holds, for each host, when its newest filter came (ns)."""
    times, pids = dict[str, int](), {str(hosts.pid_of(name)): name for name in hosts.names}
    argv = ["setpriv", "--pdeathsig", "KILL", *python("scripts.benchmarks.kernel_times", *pids)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as listener:
        assert listener.stdout is not None
        if listener.stdout.readline() != "ready\n":
            raise BenchError("who was to listen to the hosts' kernels does not")
        yield times
        said, _ = listener.communicate(timeout=30)
    times |= {pids[pid]: when for pid, when in json.loads(said).items()}


def main(pids: Sequence[str]) -> None:
    """Listen until standard input ends."""
    listeners = {listener.fileno(): listener for pid in pids for listener in [_listen(int(pid))]}
    of = dict(zip(listeners, pids, strict=True))
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    times = dict[str, int]()
    for descriptor, when in _told(listeners):
        if _HEADER.unpack_from(listeners[descriptor].recv(65536))[1] == _NEW_FILTER:
            times[of[descriptor]] = when
    sys.stdout.write(json.dumps(times))


def _listen(pid: int) -> socket.socket:
    with in_namespace_of(pid):
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    listener.bind((0, _GROUP_TC))
    return listener


def _told(descriptors: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield which listener was told something, and when (ns)."""
    with epoll() as ready:
        for descriptor in (sys.stdin.fileno(), *descriptors):
            ready.register(descriptor, EPOLLIN)
        while True:
            events, now = ready.poll(), time.monotonic_ns()
            told = [descriptor for descriptor, _ in events if descriptor != sys.stdin.fileno()]
            yield from ((descriptor, now) for descriptor in told)
            if not told:
                return


if __name__ == "__main__":
    main(sys.argv[1:])
