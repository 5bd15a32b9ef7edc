"""The hosts of the torture: one protocol, two kinds of host. A trial knows neither.

namespaced    `tests.hosts`: looked at and disturbed from beside, by way of its namespaces
vm            a machine of `chaos.lab`, with a kernel of its own: all is done over a second SSH connection, which
              goes with sshd and the network, so a host that lost them is told beforehand when to have them back
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from shlex import quote
from typing import Concatenate, Literal, ParamSpec, Protocol, TypeVar
from unittest import mock

from chaos import lab
from chaos.contracts import SwitchPower, Target
from chaos.errors import TargetError
from chaos.lab.netns import objection
from chaos.run.connect import target_of
from chaos.spec.inventory import load_inventory
from chaos.targets.local import LocalTarget
from tests.hosts import SshHosts, ssh_hosts
from tests.torture.forks import Forks

P = ParamSpec("P")
T = TypeVar("T")
Sort = Literal["namespaced", "vm"]
INTERFACE = "eth0"  # of both: what SSH comes by

_ANYWHERE = ("process_pause", "bandwidth", "partition")
_BOOT = 60.0  # s
_BOOTS = 3
_BEFORE = 0.3  # s from being told until it is done: the word that it was told must get out
_NO_SSHD = """command=$(tr '\\0' ' ' </proc/$(cat /run/sshd.pid)/cmdline)
command=${command#sshd: } command=${command%% \\[listener\\]*}
for p in /proc/[0-9]*; do
    read -r comm <$p/comm && case $comm in sshd*) kill -KILL ${p#/proc/} ;; esac
done"""  # what sshd calls itself says how it was started


class Host(Protocol):
    """A host that a trial is run on, one at a time."""

    name: str
    sort: Sort
    inventory_path: Path
    forks: Forks
    """What is started from where it is reached over SSH."""
    target: Target
    """For looking at it, beside its controller."""
    kinds: tuple[str, ...]
    """The kinds of fault that its kernel can have."""
    life: float
    """Within so many s a fault is lived here, from connecting to its undo."""
    glance: float
    """So many s a glance at it takes (`scene`) where there is time."""

    def lose_sshd(self, seconds: float) -> None:
        """Kill sshd with all its sessions, and start it again so much later; return once it answers."""

    def lose_path(self, seconds: float) -> None:
        """Cut its way to its controller for so long; return once it is reached again."""

    def reboot(self) -> None:
        """End its every process at once, and boot it; return once it can be used."""


class NamespacedHost:
    """One of `tests.hosts`."""

    sort: Sort = "namespaced"
    life, glance = 4.0, 0.1

    def __init__(self, hosts: SshHosts, name: str) -> None:
        self._hosts, self.name = hosts, name
        self.inventory_path, self.forks = hosts.inventory_path, Forks(hosts.enter_command)
        self.kinds: tuple[str, ...] = (*_ANYWHERE, "netem") if objection() is None else _ANYWHERE
        self.target: Target = LocalTarget(name, hosts.pid_of(name))

    def lose_sshd(self, seconds: float) -> None:
        self._hosts.stop_sshd(self.name)
        time.sleep(seconds)
        self._hosts.start_sshd(self.name)

    def lose_path(self, seconds: float) -> None:
        self._hosts.cut(self.name)
        time.sleep(seconds)
        self._hosts.mend(self.name)

    def reboot(self) -> None:
        self._hosts.reboot(self.name)
        self.target.close()
        self.target = LocalTarget(self.name, self._hosts.pid_of(self.name))


class VirtualHost:
    """A machine of a lab of kind vm, known by the lab's inventory."""

    sort: Sort = "vm"
    life, glance = 10.0, 0.4
    kinds: tuple[str, ...] = (*_ANYWHERE, "netem")

    def __init__(self, inventory_path: Path, name: str) -> None:
        self.name, self.inventory_path = name, inventory_path
        self.forks = Forks()
        self.target: Target = target_of(name, load_inventory(inventory_path).hosts[name])

    def lose_sshd(self, seconds: float) -> None:
        self._without(_NO_SSHD, seconds, "$command")

    def lose_path(self, seconds: float) -> None:
        self._without(f"ip link set {INTERFACE} down", seconds, f"ip link set {INTERFACE} up")

    def reboot(self) -> None:
        for _ in range(_BOOTS):
            self.target.perform(SwitchPower(on=False))
            self.target.perform(SwitchPower(on=True))
            self.target.close()
            if self._answers() and self._has_its_clock():
                return
        raise AssertionError(f"{self.name} does not boot")

    def _without(self, lose: str, seconds: float, mend: str) -> None:
        told = quote(f"sleep {_BEFORE}; {lose}; sleep {seconds}; {mend}")
        self.target.run(f"setsid sh -c {told} </dev/null >/dev/null 2>&1 &")
        time.sleep(_BEFORE + seconds)
        assert self._answers(), f"{self.name} does not come back"

    def _answers(self) -> bool:
        end = time.monotonic() + _BOOT
        while time.monotonic() < end:
            try:
                self.target.run("true", timeout=5)
            except TargetError:
                time.sleep(0.1)
            else:
                return True
        return False

    def _has_its_clock(self) -> bool:
        """A machine that fell back to another clock is no host (`chaos.lab.vm`)."""
        clock = self.target.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
        return clock.stdout.strip() == "tsc"


class Pool:
    """Hosts alike; each has one thing done on it at a time."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self.threads = ThreadPoolExecutor(max(1, len(hosts)))
        self._free: SimpleQueue[Host] = SimpleQueue()
        for host in hosts:
            self._free.put(host)

    def submit(self, do: Callable[Concatenate[Host, P], T], *args: P.args, **options: P.kwargs) -> Future[T]:
        """Do it on the host that is free next."""

        def on_host() -> T:
            host = self._free.get()
            try:
                return do(host, *args, **options)
            finally:
                self._free.put(host)

        return self.threads.submit(on_host)


@contextmanager
def namespaced_hosts(count: int) -> Iterator[Sequence[Host]]:
    """Hold so many namespaced hosts."""
    if not count:
        yield []
        return
    with ssh_hosts(count) as hosts:
        made = [NamespacedHost(hosts, name) for name in hosts.names]
        try:
            yield made
        finally:
            _close(made)


@contextmanager
def virtual_hosts(count: int, folder: Path) -> Iterator[Sequence[Host]]:
    """Hold so many VM hosts: a lab of its own, in this folder, on which nothing runs."""
    if not count:
        yield []
        return
    with mock.patch.dict(os.environ, GAMEDAY_LAB_DIR=str(folder)):
        # a lab has a gateway and at least one worker, all of them hosts alike here
        up = lab.up("vm", workers=max(1, count - 1), owner_pid=os.getpid(), workload={})
        made = [VirtualHost(up.inventory_path, name) for name in up.hosts[:count]]
        try:
            yield made
        finally:
            _close(made)
            lab.down()


def _close(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.forks.close()
        host.target.close()
