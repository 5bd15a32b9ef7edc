"""Fakes for tests, yours as well as ours: a host that lives in memory, and a clock that stands still.

    host = FakeTarget(links=[Link("eth0", True, (Qdisc("noqueue"),))])
    fault = Netem(interface="eth0", delay="50ms")
    before = read(host, fault.reading())
    for action in fault.apply(before):
        host.perform(action)
    assert fault.is_applied(before, read(host, fault.reading()))

A fake shows what a fault does to a host that behaves, or to one that fails at a chosen moment. It is no proof that a
kernel does the same: for that there is the lab.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.clock import NS
from chaos.contracts import (
    Action,
    Completed,
    Output,
    PlantQdisc,
    Power,
    PowerState,
    Question,
    Rendered,
    SetDcb,
    Shell,
    SwitchPower,
    UprootQdisc,
)
from chaos.faults._process import LISTING
from chaos.kernel import NO_HANDLE, OURS, SCAFFOLD, Beside, Dcb, Flow, Link, Pfc, Process, Qdisc
from chaos.targets._base import HostTarget

_SIGNAL = re.compile(r'look (\d+); \[ "\$started" != (\d+) \] \|\| kill -s (\w+) \d+')
_STATE_AFTER = {"STOP": "T", "CONT": "S"}  # any other signal ends a process


class FakeClock:
    """A clock that moves only when it is told to, or when somebody sleeps: then it is at once as late as they want."""

    def __init__(self) -> None:
        self._now = 1_000 * NS

    def now(self) -> int:
        """Return the fake CLOCK_MONOTONIC in ns."""
        return self._now

    def utc(self) -> datetime:
        """Return a wall clock that goes with it, from a fixed day on."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._now // 1_000)

    def sleep_until(self, when: int) -> None:
        """Be there."""
        self._now = max(self._now, when)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += round(seconds * NS)


class FakeTarget(HostTarget):
    """A host in memory. What is done to it is kept in `calls`: questions, actions, and the sh text of `run`.

    `links` are its interfaces, and `dcb` is the data centre bridging of those that have it, by their names.

    `fail_at` makes the n-th call raise. `shell` answers sh that the fake does not
    understand; it understands the listing and the signals of the process faults. With `supervised`, a killed process
    is back at once under a new number. With `ignores`, actions of those types are accepted and have no effect.

        host.fail_at(3, Unreachable("fake-host: the cable was pulled"))
    """

    def __init__(
        self,
        name: str = "fake-host",
        *,
        links: Iterable[Link] = (),
        dcb: Mapping[str, Dcb] | None = None,
        flows: Iterable[Flow] = (),
        processes: Iterable[Process] = (),
        supervised: bool = False,
        ignores: tuple[type[Any], ...] = (),
        shell: Callable[[str], Completed] = lambda _: Completed(0, "", ""),
    ) -> None:
        super().__init__(name)
        self.links = {link.name: link for link in links}
        self.bridging = dict(dcb or {})
        self.processes = list(processes)
        self.power = Power(on=True, answers=True, boot="boot-1")
        self.calls: list[Question | Action | str] = []
        self._untouched = dict(self.links)
        self._flows, self._supervised, self._ignores, self._shell = tuple(flows), supervised, ignores, shell
        self._fail: dict[int, Exception] = {}

    def fail_at(self, call: int, error: Exception) -> None:
        """Have a call raise; they are counted from 1, so the next one is `len(host.calls) + 1`."""
        self._fail[call] = error

    def ask(self, question: Question) -> Any:
        """Answer from what is in memory."""
        self._called(question)
        match question:
            case PowerState():
                return self.power
            case Output(script):
                return self._listing() if question == LISTING else super().run(script).stdout
            case _:
                return super().ask(question)

    def ask_all(self, questions: Sequence[Question]) -> tuple[Any, ...]:
        """Answer one after another, each a call."""
        return tuple(self.ask(question) for question in questions)

    def perform(self, action: Action, gate: str = "") -> str:
        """Do it in memory, where no command is ever late."""
        del gate
        self._called(action)
        match action:
            case _ if isinstance(action, self._ignores):
                return ""
            case SwitchPower(on):
                self._switch(on)
                return ""
            case Shell(script):
                return super().run(script).stdout
            case _:
                return self.make(action)

    def render(self, action: Action) -> Rendered:
        """Return the action as sh, a power switch as a command that is none."""
        return Rendered("true", "true") if isinstance(action, SwitchPower) else super().render(action)

    def run(self, script: str, *, check: bool = True, timeout: float = 30.0) -> Completed:
        """Note the script, carry out the signals in it, and let `shell` answer."""
        self._called(script)
        return super().run(script, check=check, timeout=timeout)

    def link(self, interface: str) -> Link:
        """Return the interface as it is in memory."""
        return self.links.get(interface, Link(interface, exists=False))

    def dcb(self, interface: str) -> Dcb:
        """Return an interface's data centre bridging as it is in memory."""
        return self.bridging.get(interface, Dcb(why_not="Operation not supported"))

    def make(self, action: PlantQdisc | UprootQdisc | SetDcb, gate: str = "") -> str:
        """Change an interface as the kernel would."""
        del gate
        if isinstance(action, SetDcb):
            former, wanted = self.dcb(action.interface), action.wanted
            now = replace(former, pfc=wanted) if isinstance(wanted, Pfc) else replace(former, ets=wanted)
            self.bridging[action.interface] = now
            return ""
        link = self.link(action.interface)
        if isinstance(action, PlantQdisc):
            self.links[link.name] = _planted(link, action)
        elif link.ours or (link.root is not None and link.root.handle in OURS):
            self.links[link.name] = _uprooted(link, action, self._untouched[link.name])
        return ""

    def control_path(self) -> tuple[Flow, ...]:
        """Return the flows it was made with."""
        return self._flows

    def probe_control_path(self) -> None:
        """Count as a call, so that it can be made to fail."""
        self._called("probe_control_path")

    def close(self) -> None:
        """Nothing to let go of."""

    def _run(self, script: str, timeout: float) -> Completed:
        del timeout
        for pid, started, name in _SIGNAL.findall(script):
            self._signal(int(pid), int(started), name)
        return self._shell(script)

    def _called(self, what: Question | Action | str) -> None:
        self.calls.append(what)
        if len(self.calls) in self._fail:
            raise self._fail[len(self.calls)]

    def _switch(self, on: bool) -> None:
        if on and not self.power.on:
            self.power = Power(True, True, f"{self.power.boot}+1")
        elif not on:
            self.power = Power(False, False, self.power.boot)

    def _signal(self, pid: int, started: int, name: str) -> None:
        for index, process in enumerate(self.processes):
            if (process.pid, process.started) == (pid, started):
                self.processes[index : index + 1] = self._after(process, name)

    def _after(self, process: Process, signal: str) -> list[Process]:
        if signal in _STATE_AFTER:
            return [replace(process, state=_STATE_AFTER[signal])]
        pid = max(p.pid for p in self.processes) + 1
        return [replace(process, pid=pid, started=process.started + pid, state="S")] if self._supervised else []

    def _listing(self) -> str:
        stats = [_headed(p, "stat", f"{p.pid} (fake) {p.state} {'0 ' * 18}{p.started} 0") for p in self.processes]
        commands = [_headed(p, "cmdline", f"{p.command} ") for p in self.processes]
        return "\n".join(["--stat", *stats, "--cmdline", *commands])


def _headed(process: Process, file: str, text: str) -> str:
    return f"==> /proc/{process.pid}/{file} <==\n{text}\n"


def _planted(link: Link, action: PlantQdisc) -> Link:
    if isinstance(action.place, Beside):
        return _planted_beside(link, action, action.place)
    beside = tuple(q for q in link.qdiscs if q.parent.startswith("ffff:"))
    if not action.exempt:
        return replace(link, qdiscs=(*_busy(action.qdiscs()), *beside))
    planted = (Qdisc("prio", SCAFFOLD), *_busy(action.qdiscs(f"{SCAFFOLD}2")), *beside)
    return replace(link, qdiscs=planted, filters=tuple(f"u32 {flow}" for flow in action.exempt))


def _busy(qdiscs: tuple[Qdisc, ...]) -> tuple[Qdisc, ...]:
    """Return qdiscs that a packet has passed."""
    return tuple(replace(qdisc, packets=1) for qdisc in qdiscs)


def _planted_beside(link: Link, action: PlantQdisc, place: Beside) -> Link:
    has_clsact = any(q.kind == "clsact" for q in link.qdiscs)
    clsact = (Qdisc("clsact", "ffff:", "ffff:fff1"),) if place.adds_clsact and not has_clsact else ()
    steers = (*(steer for steer in link.steers if steer not in action.steers), *action.steers)
    ours = {**link.ours, place.device: _busy(action.qdiscs())}
    return replace(link, qdiscs=link.qdiscs + clsact, ours=ours, steers=steers)


def _uprooted(link: Link, action: UprootQdisc, untouched: Link) -> Link:
    if isinstance(action.place, Beside):
        return _uprooted_beside(link, action.place)
    beside = tuple(q for q in link.qdiscs if q.parent.startswith("ffff:"))
    defaults = tuple(q for q in untouched.qdiscs if q.handle == NO_HANDLE)
    former = action.place.former
    return replace(link, qdiscs=((former,) if former else defaults) + beside, filters=untouched.filters)


def _uprooted_beside(link: Link, place: Beside) -> Link:
    steers = tuple(steer for steer in link.steers if steer.preference not in place.preferences)
    empty = place.adds_clsact and not steers and not link.filters
    kept = tuple(q for q in link.qdiscs if q.kind != "clsact" or not empty)
    ours = {name: held for name, held in link.ours.items() if name != place.device}
    return replace(link, qdiscs=kept, ours=ours, steers=steers)
