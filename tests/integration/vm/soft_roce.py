"""Soft RoCE between two VM hosts of the lab: what a fault on the sender's interface does to it, by kernel counters.

Both have a device rxe0 on eth1 (rdma_rxe); ib_write_bw of perftest writes messages from one into the other's memory.
How fast it is tells of the machine too; how many packets were sent for each that was needed does not. A reliable
connection of RoCE goes back to the packet that was lost and sends all again that it had sent since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.contracts import Dose, Fault, Target
from chaos.run.injector import read

_UP = """
modprobe -a ib_uverbs rdma_rxe && rdma link add rxe0 type rxe netdev eth1
cat /sys/class/infiniband/rxe0/ports/1/gids/*
"""
_DOWN = "rdma link del rxe0; modprobe -r rdma_rxe"
_COUNTER = "cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts"
_SIZE, _PATH_MTU = 65_536, 1024  # bytes; the largest that eth1's 1500 have room for
_LISTENS = "ss -Hltn 'sport = 18515' | grep -q ."


@dataclass(frozen=True)
class Written:
    """What became of so many messages: MB/s (0 where they did not get through in time), packets for each needed."""

    megabytes_per_second: float
    packets_per_needed: float


class SoftRoce:
    """Two hosts, each with its device; a queue pair waits 4.096 µs * 2^`patience` for an acknowledgement."""

    def __init__(self, sender: Target, receiver: Target, gids: dict[str, int], patience: int) -> None:
        self._sender, self._receiver, self._gids, self._patience = sender, receiver, gids, patience

    def write(self, messages: int, within: int = 40) -> Written:
        """Write messages into the receiver's memory, within so many s."""
        options = f"-d rxe0 -F -s {_SIZE} -n {messages} -u {self._patience}"
        serve = f"timeout {within + 5} ib_write_bw {options} -x {self._gids[self._receiver.name]} >/dev/null 2>&1"
        self._receiver.run(f"{serve} & i=0; until {_LISTENS} || [ $((i += 1)) -gt 100 ]; do sleep 0.1; done")
        address = self._receiver.run("ip -4 -o addr show dev eth1 | sed 's/.*inet \\([^/]*\\).*/\\1/'").stdout.strip()
        before = int(self._sender.run(_COUNTER).stdout)
        ask = f"timeout {within} ib_write_bw {options} -x {self._gids[self._sender.name]} --report_gbits {address}"
        said = self._sender.run(ask, check=False, timeout=within + 30).stdout
        sent = int(self._sender.run(_COUNTER).stdout) - before
        self._receiver.run("for p in $(pidof ib_write_bw); do kill $p; done; true")
        found = re.search(rf"^ *{_SIZE} +\d+ +[\d.]+ +([\d.]+)", said, re.MULTILINE)
        gigabits = float(found[1]) if found else 0.0
        return Written(gigabits * 125, sent / (messages * _SIZE / _PATH_MTU))

    def write_under(self, fault: Fault[Any], messages: int, within: int = 40) -> tuple[Written, Dose]:
        """Write while a fault is on the sender; return also what the fault says it did."""
        before = read(self._sender, fault.reading())
        assert fault.objection(before) is None
        try:
            for action in fault.apply(before):
                self._sender.perform(action)
            written = self.write(messages, within)
            dose = fault.dose(before, read(self._sender, fault.reading()))
        finally:
            for action in fault.revert(before):
                self._sender.perform(action)
        assert fault.is_reverted(before, read(self._sender, fault.reading()))
        return written, dose


@contextmanager
def soft_roce(sender: Target, receiver: Target, patience: int = 16) -> Iterator[SoftRoce]:
    """Have the devices on both; perftest's own patience of 14 is too little for hosts that are emulated."""
    try:
        gids = {target.name: _gid(target.run(_UP).stdout) for target in (sender, receiver)}
        yield SoftRoce(sender, receiver, gids, patience)
    finally:
        for target in (sender, receiver):
            target.run(_DOWN, check=False)


def _gid(listed: str) -> int:
    """Return the index of the GID that is the IPv4 address."""
    return next(at for at, gid in enumerate(listed.split()) if gid.startswith("0000:0000:0000:0000:0000:ffff:"))
