"""Hosts that are namespaces of this machine's kernel: the `Hosts` of the keeper for kind netns.

A host is one process (`namespace.sh`) in mount, PID, UTS and network namespaces of its own, with what it started. Its
eth0 is one end of a veth pair; the other end is a port of a bridge, in one more network namespace, which is the switch.
No namespace has a name and the machine's own namespace gets no interface: when the keeper ends, by whatever, the kernel
ends each host's first process (PR_SET_PDEATHSIG), with it every process of its PID namespace, and with the last process
the network namespace and its interfaces (pid_namespaces(7), network_namespaces(7)).

The gateway's service has to be reached from the machine's namespace, where the hosts have no interface. A socket
belongs to the namespace it was made in, so the keeper opens the listening socket and hands it down.

Needs root. iproute2's batch mode makes the links, one call a host.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from chaos.errors import Refusal, Unreachable
from chaos.lab import inventory
from chaos.lab.children import start_child, tail
from chaos.lab.layout import SERVICE_PORT, HostLayout, Layout, hosts_file
from chaos.lab.tools import which

START_SECONDS = 10.0
_INIT = Path(__file__).with_name("namespace.sh")
_POLL = 0.01
_SWITCH = HostLayout("switch", 254, ())
"""The bridge's namespace is made like a host's; it has no address on the data network."""


def objection() -> str | None:
    """Return why this machine can't make namespaced hosts that take every network fault, or None when it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    script = "ip link add name probe type bridge && tc qdisc add dev lo root netem delay 1ms"
    probe = subprocess.run([which("unshare"), "--net", "sh", "-c", script], capture_output=True, text=True)
    said = " ".join(probe.stderr.split())
    return f"this kernel's namespaces lack a bridge or sch_netem ({said})" if probe.returncode else None


class NamespacedHosts:
    """The hosts of a layout; `endpoint` is where the gateway's service listens, on the machine's loopback."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self._layout, self._folder = layout, folder
        self._service = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.endpoint = f"127.0.0.1:{self._service.getsockname()[1]}"
        self._parents: list[subprocess.Popen[bytes]] = []
        self._first: dict[str, int] = {}

    async def start(self) -> None:
        """Start the switch and every host, and plug them in."""
        everything = (_SWITCH, *self._layout.hosts)
        for host in everything:
            self._start(host)
        self._service.close()  # the gateway has it now; were it kept here, a dead gateway would seem to listen
        for host in everything:
            self._first[host.name] = await self._first_process(host.name)
        self._ip(["link add name data type bridge", "link set data up"], inside=self._first[_SWITCH.name])
        for host in self._layout.hosts:
            self._plug_in(host)

    async def stop(self) -> None:
        """End every host and the switch."""
        for parent in self._parents:
            parent.kill()
        for parent in self._parents:
            parent.wait()
        while any(Path(f"/proc/{process}").exists() for process in self._first.values()):
            await asyncio.sleep(_POLL)

    async def power(self, host: str, to: str) -> str:
        """Refuse: a namespace has no power."""
        raise Refusal(f"{host} can't be switched {to}: it is a namespace; a lab of kind vm has hosts with power")

    def inventory(self) -> str:
        """Return the inventory's text."""
        port = int(self.endpoint.rpartition(":")[2])
        return inventory.to_yaml(inventory.netns_inventory(self._layout, self._first, port))

    def last_words(self) -> str:
        """Return the end of what the gateway said."""
        return f"the gateway said: {tail(self._files(self._layout.gateway.name) / 'workload.log')}"

    def _files(self, name: str) -> Path:
        return self._folder / "hosts" / name

    def _start(self, host: HostLayout) -> None:
        """Start a host's first process; the gateway's inherits the listening socket."""
        files = self._files(host.name)
        files.mkdir(parents=True)
        handed = [self._service.fileno()] if host == self._layout.gateway else []
        (files / "hosts").write_text(hosts_file(self._layout))
        (files / "workload.sh").write_text(host.script(f"fd:{handed[0]}" if handed else f"0.0.0.0:{SERVICE_PORT}"))
        # --kill-child: the first process ends with `unshare`, as `unshare` ends with the keeper
        isolate = [which("unshare"), "--fork", "--kill-child=SIGKILL", "--pid", "--net", "--mount", "--uts"]
        log = self._folder / "logs" / host.name
        self._parents.append(start_child([*isolate, "sh", _INIT, host.name], log, files, pass_fds=handed))

    async def _first_process(self, name: str) -> int:
        """Wait until a host is made and return its first process."""
        said, deadline = self._files(name) / "pid", time.monotonic() + START_SECONDS
        while not said.exists():
            if time.monotonic() > deadline:
                raise Unreachable(f"{name} was not made in {START_SECONDS:.0f} s: {tail(self._folder / 'logs' / name)}")
            await asyncio.sleep(_POLL)
        return int(said.read_text())

    def _plug_in(self, host: HostLayout) -> None:
        """Give a host its eth0, joined to the bridge."""
        own, port = self._first[host.name], f"port-{host.number}"
        peer = f"peer name eth0 address {host.mac} netns {own}"
        self._ip(
            [f"link add name {port} master data type veth {peer}", f"link set {port} up"],
            inside=self._first[_SWITCH.name],
        )
        self._ip(
            [
                f"addr add {host.address}/24 dev eth0",
                f"addr add {host.address6}/64 dev eth0 nodad",
                "link set eth0 up",
            ],
            inside=own,
        )

    def _ip(self, lines: Sequence[str], *, inside: int) -> None:
        """Have ip(8) do `lines` in the network namespace of a process."""
        command = [which("nsenter"), "--target", str(inside), "--net", which("ip"), "-batch", "-"]
        done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
        if done.returncode:
            raise Unreachable(f"`ip` would not do {'; '.join(lines)}: {done.stderr.strip()}")
