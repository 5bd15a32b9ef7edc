"""Every kind of fault, the controller and the fuse stopped at every step: fuse, heal or both leave the host as it was.

The host is a fake, which can't run the sh of an undo. So what a fuse does, and `heal`, is modelled: the actions that
the undo was rendered from, provided that the very text of them is placed with the fuse, or open in the ledger. The same
on real hosts, with real fuses and the real `heal`: tests/integration/test_letting_go_on_hosts.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from shlex import quote
from typing import Any

import pytest

from chaos import catalog
from chaos.contracts import Action, Completed, Fault
from chaos.kernel import Dcb, Flow, Link, Pfc, Process, Qdisc
from chaos.record.events import EventLog
from chaos.run.fuse import Undo
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site, read
from chaos.run.ledger import Ledger
from chaos.testing import FakeClock, FakeTarget
from tests.properties.test_faults_undo import ETS, IP_SAYS, PARAMETERS, visible, visible_before
from tests.stopping import Steps, live

KINDS = sorted(PARAMETERS)
MQ = (Qdisc("mq"), Qdisc("fq_codel", parent=":1"), Qdisc("fq_codel", parent=":2"))


class Stopped(BaseException):
    """No code of a run catches it, so none runs after it."""


class FakeFuseHost(FakeTarget):
    """Where the fuse stands: it knows what was placed, and says what a fuse would; a dead one says its last word."""

    def __init__(self) -> None:
        super().__init__("fake-fuse", shell=self._answer)
        self.placed, self.state, self.alive = "", "", False

    def _answer(self, script: str) -> Completed:
        if "touch disarm" in script:
            self.placed, self.state, self.alive = "", "", False
        elif "fuse.sh" in script:
            self.placed, self.state, self.alive = script, "armed", True
        return Completed(0, self.state, "")


@dataclass
class Scene:
    """A host, its fuse, and what a controller left of itself."""

    fault: Fault[Any]
    folder: Path
    host: FakeTarget = field(default_factory=lambda: _host())
    fuse: FakeFuseHost = field(default_factory=FakeFuseHost)
    before: Any = None

    def __post_init__(self) -> None:
        self.before = read(self.host, self.fault.reading())
        self.ledger = Ledger(self.folder)

    def run(self, steps: Steps) -> bool:
        """Have a controller live the fault; return whether it lived to the end."""
        host, stands_on = steps.through(self.host), steps.through(self.fuse)
        heartbeat = Heartbeat(self.fuse, 60, lambda _: None, lambda _: None)
        events = EventLog(self.folder / "events.jsonl", FakeClock())
        injection = Injection(
            "f-0", self.fault, Site(host, stands_on, "/run/gameday", heartbeat), events, steps.through(self.ledger),
            FakeClock(), lease=3, hold=60,
        )  # fmt: skip
        try:
            live(injection)
        except Stopped:
            return False
        finally:
            events.close()
        return True

    @property
    def undo(self) -> list[Action]:
        return self.fault.revert(self.before)

    def of_the_fuse(self) -> list[Action]:
        """What the fuse would do now: nothing where it does not live, else all that was placed with it."""
        if not self.fuse.alive:
            return []
        text = Undo.of(self.host.render(action) for action in self.undo)
        assert quote(text.do) in self.fuse.placed
        assert quote(text.clean) in self.fuse.placed
        return self.undo

    def of_heal(self) -> list[Action]:
        """What `heal` would do now: whatever the ledger holds open."""
        text = Undo.of(self.host.render(action) for action in self.undo)
        entries = self.ledger.still_open() if self.ledger.path.exists() else []
        assert [entry.undo for entry in entries] in ([], [text])
        return self.undo if entries else []

    def is_clean(self) -> bool:
        return bool(visible(self.host, self.fault) == visible_before(self.before, self.fault))

    def let_go(self, actions: list[Action]) -> None:
        for action in actions:
            self.host.perform(action)
        assert self.is_clean()


def _host() -> FakeTarget:
    return FakeTarget(
        links=[Link("eth0", True, MQ)],
        dcb={"eth0": Dcb(Pfc(frozenset({3})), ETS)},
        shell=lambda _: Completed(0, IP_SAYS, ""),
        flows=[Flow(ip_address("192.0.2.1"), 22)],
        processes=[Process(7, 3, "S", "serve a"), Process(8, 4, "S", "serve b"), Process(9, 5, "S", "other")],
        supervised=True,
    )


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Scene]]:
    """Make a new scene of one kind, each in a folder of its own."""
    numbers = itertools.count()

    def make() -> Scene:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Scene(catalog.faults().get(request.param).model_validate(PARAMETERS[request.param]), folder)

    yield make


def places(scene: Callable[[], Scene]) -> range:
    """Return every place where a life can be stopped, once it was seen to end well."""
    steps, whole = Steps(), scene()
    assert whole.run(steps)
    assert whole.is_clean()
    assert (whole.fuse.placed, whole.ledger.still_open()) == ("", [])
    return range(steps.taken + 1)


def stop() -> None:
    raise Stopped


def stopped(scene: Callable[[], Scene], place: int, fuse_until: int | None = None) -> Scene:
    """Return what is left of a controller that was stopped at a place, and of a fuse that was at one before."""
    left = scene()
    steps = FuseKiller(left, place, fuse_until)
    left.run(steps)
    assert steps.taken == place
    return left


class FuseKiller(Steps):
    """Steps, and the fuse is killed once `fuse_until` of them were taken."""

    def __init__(self, scene: Scene, last: int | None, fuse_until: int | None) -> None:
        super().__init__(last, stop)
        self._scene, self._until = scene, fuse_until

    def take(self, do: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.taken == self._until:
            self._scene.fuse.alive = False
        return super().take(do, *args, **options)


def merged(one: list[Action], other: list[Action]) -> list[list[Action]]:
    """Return every order in which two may act at once."""
    total = len(one) + len(other)
    orders = []
    for chosen in itertools.combinations(range(total), len(one)):
        left, right = iter(one), iter(other)
        orders.append([next(left) if index in chosen else next(right) for index in range(total)])
    return orders


def test_the_undo_is_in_both_places_while_the_fault_may_be_on(scene: Callable[[], Scene]) -> None:
    on = 0
    for place in places(scene):
        left = stopped(scene, place)
        if not left.is_clean():
            on += 1
            assert left.of_the_fuse() == left.of_heal() == left.undo
    assert on >= 3 or not scene().fault.lasts, "the fault was there to be let go"


def test_the_controller_is_stopped_and_the_fuse_lets_go(scene: Callable[[], Scene]) -> None:
    for place in places(scene):
        left = stopped(scene, place)
        left.let_go(left.of_the_fuse())


def test_the_controller_is_stopped_and_heal_lets_go(scene: Callable[[], Scene]) -> None:
    for place in places(scene):
        left = stopped(scene, place)
        left.let_go(left.of_heal())


def test_the_controller_is_stopped_and_both_let_go_at_once(scene: Callable[[], Scene]) -> None:
    for place in places(scene):
        for number in range(len(merged(stopped(scene, place).of_the_fuse(), stopped(scene, place).of_heal()))):
            left = stopped(scene, place)
            left.let_go(merged(left.of_the_fuse(), left.of_heal())[number])


def test_the_fuse_is_stopped_and_the_controller_goes_on(scene: Callable[[], Scene]) -> None:
    for place in places(scene):
        left = scene()
        assert left.run(FuseKiller(left, None, place))
        assert left.is_clean()
        assert left.of_heal() == []


def test_the_fuse_is_stopped_and_then_the_controller_and_heal_lets_go(scene: Callable[[], Scene]) -> None:
    for place in places(scene):
        for fuse_until in range(place + 1):
            left = stopped(scene, place, fuse_until)
            left.let_go(left.of_heal())
