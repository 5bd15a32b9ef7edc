"""A host with payloads on it: an SSH host in namespaces, with this machine's cgroups, and a fuse for each fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from chaos.contracts import Dose, Fault, Target
from chaos.run.fuse import Fuse, Undo
from chaos.run.injector import read

T = TypeVar("T")


@dataclass
class Standing:
    """A fault that was applied under a fuse, as the injector would."""

    host: Target
    fault: Fault[Any]
    lease: float = 60
    before: Any = None
    fuse: Fuse = field(init=False)

    def __post_init__(self) -> None:
        self.before = read(self.host, self.fault.reading())
        assert self.fault.objection(self.before) is None
        undo = Undo.of(self.host.render(action) for action in self.fault.revert(self.before))
        self.fuse = Fuse(self.host, f"f-{self.fault.kind}-{time.monotonic_ns()}", undo, self.lease, 60)
        assert self.fuse.reads_clean()
        self.fuse.arm()
        self.apply()

    def apply(self) -> None:
        for action in self.fault.apply(self.before):
            self.host.perform(action)

    def now(self) -> Any:
        return read(self.host, self.fault.reading())

    def is_applied(self) -> bool:
        return self.fault.is_applied(self.before, self.now())

    def is_reverted(self) -> bool:
        return self.fault.is_reverted(self.before, self.now())

    def dose(self) -> Dose:
        return self.fault.dose(self.before, self.now())

    def confirmed(self, within: float = 20) -> Dose:
        """The dose, once it is what was asked: a busy machine takes its time."""
        return self.eventually(self.dose, lambda dose: dose.confirmed, within)

    def eventually(self, ask: Callable[[], T], true: Callable[[T], bool] = bool, within: float = 10) -> T:
        end = time.monotonic() + within
        while not true(answer := ask()):
            assert time.monotonic() < end, answer
            time.sleep(0.1)
        return answer

    def undo(self) -> None:
        """Undo it as the controller does, twice; then nothing of it is left."""
        assert not self.fuse.reads_clean()
        for _ in range(2):
            for action in self.fault.revert(self.before):
                self.host.perform(action)
            assert self.is_reverted()
            assert self.fuse.reads_clean()
        self.fuse.disarm()
