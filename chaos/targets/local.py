"""This machine, or a host that lives in namespaces on it: commands by nsenter(1), kernel objects by netlink."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chaos.contracts import Completed, DcbState, LinkState, PlantQdisc, Question, SetDcb, UprootQdisc
from chaos.errors import Unreachable
from chaos.kernel import HAS_IFB, NO_HANDLE, OURS, RDMA, AtRoot, Beside, Dcb, Flow, Link
from chaos.targets._base import HostTarget
from chaos.targets._tc import LOAD_IFB
from chaos.targets.netlink import Netlink
from chaos.targets.power import PowerController


class LocalTarget(HostTarget):
    """`pid` names a process in the host's namespaces; without one it is this machine. No network lies between."""

    def __init__(self, name: str, pid: int | None = None, power: PowerController | None = None) -> None:
        super().__init__(name, power)
        self._enter = ["nsenter", "--target", str(pid), "--all"] if pid else []
        self._netlink = Netlink(name, f"/proc/{pid}/ns/net" if pid else None)
        self._rdma: list[list[str]] = []

    def _run(self, script: str, timeout: float) -> Completed:
        argv = [*self._enter, "sh", "-c", script]
        try:
            done = subprocess.run(
                argv, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL, cwd="/"
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"{self.name}: no answer within {timeout:.0f} s to `{script.strip()[:200]}`") from error
        stdout, stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        if self._enter and done.returncode and stderr.startswith("nsenter:"):
            raise Unreachable(f"{self.name}: its namespaces can't be entered: {stderr.strip()}")
        return Completed(done.returncode, stdout, stderr)

    def control_path(self) -> tuple[Flow, ...]:
        """Return nothing: no packet carries this connection."""
        return ()

    def probe_control_path(self) -> None:
        """Run a command; nothing that a network fault does can come between."""
        self.run("true", timeout=5)

    def look(self, question: Question) -> tuple[str, Callable[[str], Any]] | None:
        """Return the sh that answers a question; an interface is read by netlink."""
        return None if isinstance(question, LinkState | DcbState) else super().look(question)

    def link(self, interface: str) -> Link:
        """Read an interface by netlink; a root that somebody made is read with tc, whose words can make it again."""
        read = self._netlink.link(interface)
        if self._has_ifb is None:
            self._has_ifb = self.run(HAS_IFB, check=False).status == 0
            self._rdma = [line.split() for line in self.run(RDMA).stdout.splitlines()]
        rdma = tuple(device for carrier, device in self._rdma if carrier == interface)
        seen = replace(read, has_ifb=self._has_ifb, rdma=rdma)
        made = seen.root is not None and seen.root.handle not in (NO_HANDLE, *OURS)
        return super().link(interface) if made else seen

    def dcb(self, interface: str) -> Dcb:
        """Read an interface's data centre bridging by netlink."""
        return self._netlink.dcb(interface)

    def make(self, action: PlantQdisc | UprootQdisc | SetDcb, gate: str = "") -> str:
        """Make or set a kernel object by netlink; waiting for packets to leave, and a former root, are sh."""
        match action:
            case PlantQdisc(place=place):
                self.run(gate + (LOAD_IFB if isinstance(place, Beside) else "true"))
                self._netlink.plant(action)
            case UprootQdisc(interface, AtRoot(None)):
                self._netlink.uproot(interface)
            case SetDcb():
                self.run(gate + "true")
                self._netlink.set_dcb(action)
            case _:
                return super().make(action, gate)
        return ""

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()
