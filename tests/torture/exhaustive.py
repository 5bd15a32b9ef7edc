"""`scripts/torture --exhaustive`: a life of netem on a VM, its controller stopped at every step; it must come clean.

As tests/integration/test_letting_go_on_hosts.py, which does it for the kinds that any kernel has, on namespaced hosts.
netem needs a VM's kernel, and an emulated sshd takes its time: hence here, and not with the tests.

    what lets go    with the controller    then                                        clean within
    the fuse        nothing                nothing                                     lease + 2 s
    the guardian    the fuse is killed     nothing: it starts the fuse again           lease + 5 s
    heal            the pair is killed     `heal` at once                              once it has ended
    both            nothing                `heal`, while the fuse lets go              once it has ended
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from chaos.run.fingerprint import drift
from tests.torture.commands import LEASE, Commands, Ended
from tests.torture.hosts import INTERFACE, Host, Pool, virtual_hosts
from tests.torture.scene import clear_scene, left, set_scene, settled_fingerprint, wait_until_clear
from tests.torture.tables import seconds, table

_KIND, _PARAMETERS = "netem", {"interface": INTERFACE, "delay": "20ms", "loss": "1%"}
_HEAD = ("what lets go", "places", "clean at most, s", "allowed, s", "broken")


@dataclass(frozen=True)
class Way:
    """How a host is to become clean. `heal_after` in s; None: not before it is."""

    name: str
    kills: str
    heal_after: float | None
    allowed: float | None


WAYS = (
    Way("the fuse", "nothing", None, LEASE + 2),
    Way("the guardian", "fuse", None, LEASE + 5),
    Way("heal", "pair", 0.0, None),
    Way("both", "nothing", LEASE - 0.5, None),
)


@dataclass(frozen=True)
class Stopped:
    """What became of a host whose controller was stopped after so many steps. `cleared` in s after that."""

    way: Way
    place: int
    cleared: float
    wrong: tuple[str, ...]


def exhaustive(vms: int) -> int:
    """Stop it everywhere, in every way; print a table, and return 1 when a host did not become clean."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pool = Pool(stack.enter_context(virtual_hosts(vms, folder / "lab")))
        stack.enter_context(pool.threads)
        whole = pool.submit(_life, folder / "whole", None, "nothing").result()
        assert whole.status == 0, "a life that nobody stops ends well"
        running = [
            pool.submit(_stopped, way, place, whole.steps, folder / f"{way.kills}-{way.heal_after}-{place}")
            for way in WAYS
            for place in range(whole.steps + 1)
        ]
        done = [one.result() for one in running]
    sys.stdout.write(_report(done) + "\n")
    return int(any(one.wrong for one in done))


def _life(host: Host, folder: Path, place: int | None, kills: str) -> Ended:
    return Commands(host, folder).stopped_controller(_KIND, dict(_PARAMETERS), place, kills)


def _stopped(host: Host, way: Way, place: int, steps: int, folder: Path) -> Stopped:
    before = set_scene(host)
    ended, stopped = _life(host, folder, place, way.kills), time.monotonic()
    # the last was to be stopped after its last step: it has ended by then, but where it looked once more
    wrong = [] if ended.status == -SIGKILL or (place == steps and not ended.status) else [f"it ended so: {ended}"]
    cleared, found = _let_go(host, way, stopped, Commands(host, folder))
    wrong += found + [f"left at the end: {what}" for what in left(host)]
    wrong += [f"drift: {line}" for line in drift(before, settled_fingerprint(host))]
    clear_scene(host)
    sys.stderr.write(f"{way.name}, stopped after {place} of {steps} steps: {'; '.join(wrong) or 'ok'}\n")
    if wrong:
        host.reboot()
    return Stopped(way, place, cleared, tuple(wrong))


def _let_go(host: Host, way: Way, stopped: float, commands: Commands) -> tuple[float, list[str]]:
    """Have the host become clean; return how long that took (s), and what was wrong."""
    if way.allowed is not None:
        cleared, wrong = wait_until_clear(host, stopped, way.allowed)
        return cleared, wrong + commands.heal_wrong()
    time.sleep(way.heal_after or 0.0)
    wrong = commands.heal_wrong()
    return time.monotonic() - stopped, wrong + left(host)


def _report(done: list[Stopped]) -> str:
    lines = [f"{one.way.name}, stopped after {one.place} steps: {what}" for one in done for what in one.wrong]
    rows = [_HEAD]
    for way in WAYS:
        these = [one for one in done if one.way == way]
        slowest, broken = max(one.cleared for one in these), sum(bool(one.wrong) for one in these)
        rows.append((way.name, str(len(these)), seconds(slowest), seconds(way.allowed), str(broken)))
    return "\n".join([*lines, *table(rows)])
