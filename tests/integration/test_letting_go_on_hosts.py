"""On real hosts, the controller and the fuse stopped at every step: fuse, `heal` or both leave each host as it was.

As tests/properties/test_letting_go_exhaustive.py, which says it of every kind on a fake. Here a controller is a process
that ends by SIGKILL, a host a set of namespaces (a host for each place where a life can be stopped, all side by side),
the fuse is the real one and so is `heal`. Beside the fault there are an nftables table, a qdisc tree and a stopped
process of somebody else's.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from chaos import catalog
from chaos.contracts import Fault
from chaos.errors import TargetError
from chaos.run.connect import side_by_side
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.heal import heal
from chaos.run.injector import read
from chaos.run.ledger import all_ledgers
from chaos.spec.inventory import load_inventory
from chaos.targets.local import LocalTarget
from tests.hosts import SshHosts, objection, ssh_hosts
from tests.stopped_controllers import Batch

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))

KINDS: dict[str, dict[str, Any]] = {
    "process_pause": {"match": "^sleep 86399"},
    "partition": {"action": "reject"},
    "bandwidth": {"interface": "eth0", "rate": "5mbit"},
}
MOST_STEPS = 24
LEASE = 3.0  # s
LOOK = 0.5  # s: what a look at all hosts takes where there is time
SCENERY = """
sleep 86399 >/dev/null 2>&1 &
sleep 86398 >/dev/null 2>&1 &
until read -r comm </proc/$!/comm && [ "$comm" = sleep ]; do :; done; kill -STOP $!
nft 'table inet somebody { chain input { type filter hook input priority 0; tcp dport 9 counter drop; }; }'
tc qdisc replace dev eth0 root handle 7: htb default 10
tc class replace dev eth0 parent 7: classid 7:10 htb rate 10mbit
while ip -6 address show tentative | grep -q .; do sleep 0.1; done
"""
# programs of fuses; what one was asleep with outlives it, and does nothing
STANDING = """for p in /proc/[0-9]*; do
    case $(readlink $p/cwd) in /run/gameday/fuses/*) read -r comm <$p/comm && [ "$comm" != sleep ] && echo "$p" ;; esac
done 2>/dev/null | wc -l"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(MOST_STEPS) as up:
        for name in up.names:
            up.inside(name, SCENERY)
        yield up


@dataclass(frozen=True)
class Stage:
    """Where one kind of fault is lived, by many controllers at once."""

    targets: dict[str, LocalTarget]
    before: dict[str, tuple[str, ...]]
    read_before: dict[str, Any]
    batch: Batch
    inventory: Path

    @property
    def fault(self) -> Fault[Any]:
        return catalog.faults().get(self.batch.kind).model_validate(self.batch.parameters)

    def run(self, **how: Any) -> dict[str, int]:
        """Run a controller for each place, each on a host of its own; return how each ended."""
        return {name: status for name, (status, _) in _run(replace(self.batch, **how)).items()}

    def heal(self) -> None:
        """Heal all hosts; each must be said to be clean."""
        results = heal(load_inventory(self.inventory), Path(self.batch.runs))
        assert [result for result in results if not result.clean] == []

    def left(self) -> list[str]:
        """Return what can still be read of the faults, and of fuses that have not let go."""
        return [what for found in side_by_side(self.targets.values(), self._left_on) for what in found]

    def _left_on(self, target: LocalTarget) -> list[str]:
        try:
            now = read(target, self.fault.reading())
        except TargetError as error:  # the fuse took away what was being looked at
            return [str(error)]
        before = self.read_before[target.name]
        said = target.run("cat /run/gameday/fuses/*/state 2>/dev/null; true").stdout.splitlines()
        left = [] if now == before or self.fault.is_reverted(before, now) else [f"it reads {now}"]
        left += [f"its fuse says {state}" for state in said if not state.startswith(("clean", "disarmed"))]
        place = self.batch.places[target.name]
        return [f"stopped after {place} steps: {target.name}: {what}" for what in left]

    def fuses_standing(self) -> int:
        return sum(int(said.stdout) for said in side_by_side(self.targets.values(), lambda t: t.run(STANDING)))

    def wait_until_clean(self, until: float) -> None:
        """Look until nothing is left. A look that takes long shows a machine without time, and moves the deadline."""
        while True:
            began = time.monotonic()
            if not (left := self.left()):
                return
            until += max(0.0, time.monotonic() - began - LOOK)
            assert time.monotonic() < until, "\n".join(left)
            time.sleep(0.5)

    def assert_as_before(self) -> None:
        """After `heal`: nothing of ours is anywhere, nothing of anybody else's has changed, no undo is owed."""
        assert self.left() == []
        assert [entry for ledger in all_ledgers(Path(self.batch.runs)) for entry in ledger.still_open()] == []
        ours = side_by_side(self.targets.values(), lambda t: t.run("ls -d /run/gameday 2>/dev/null; true").stdout)
        assert set(ours) == {""}
        after = dict(zip(self.targets, side_by_side(self.targets.values(), fingerprint), strict=True))
        assert {name: found for name in self.targets if (found := drift(self.before[name], after[name]))} == {}


@pytest.fixture(scope="module")
def before(hosts: SshHosts) -> dict[str, tuple[str, ...]]:
    """The hosts' fingerprints; every test leaves them so."""
    found = side_by_side((LocalTarget(name, hosts.pid_of(name)) for name in hosts.names), fingerprint)
    return dict(zip(hosts.names, found, strict=True))


@pytest.fixture(scope="module", params=sorted(KINDS))
def prepared(
    request: pytest.FixtureRequest, hosts: SshHosts, before: dict[str, tuple[str, ...]], tmp_path_factory: Any
) -> Iterator[Stage]:
    """A host for each place where a life of this kind can be stopped, once a life was seen to end well."""
    folder, pids = tmp_path_factory.mktemp(request.param), {name: hosts.pid_of(name) for name in hosts.names}
    whole = Batch(request.param, KINDS[request.param], LEASE, str(folder / "whole"), pids, {hosts.names[0]: None})
    ((status, steps),) = _run(whole).values()
    assert status == 0
    assert 12 <= steps < MOST_STEPS
    places: dict[str, int | None] = {name: place for place, name in enumerate(hosts.names[: steps + 1])}
    lines = [f"  {name}: {{connection: netns, pid: {pids[name]}}}\n" for name in places]
    (folder / "inventory.yaml").write_text("hosts:\n" + "".join(lines))
    targets = {name: LocalTarget(name, pids[name]) for name in places}
    reading = catalog.faults().get(request.param).model_validate(KINDS[request.param]).reading()
    seen = side_by_side(targets.values(), lambda target: read(target, reading))
    yield Stage(
        targets,
        before,
        dict(zip(targets, seen, strict=True)),
        replace(whole, places=places),
        folder / "inventory.yaml",
    )
    for target in targets.values():
        target.close()


@pytest.fixture
def stage(prepared: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The same with a folder of runs of its own; what a test that failed has left is taken away."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield replace(prepared, batch=replace(prepared.batch, runs=str(tmp_path / "runs")))
    heal(load_inventory(prepared.inventory), tmp_path / "runs")


def test_the_controller_is_stopped_and_the_fuse_lets_go(stage: Stage) -> None:
    assert_killed(stage.run())
    stage.wait_until_clean(time.monotonic() + LEASE + 2)
    stage.heal()
    stage.assert_as_before()


def test_the_controller_and_the_fuse_are_stopped_and_the_fuse_lets_go(stage: Stage) -> None:
    """Its guardian starts it again."""
    assert_killed(stage.run(kills="fuse"))
    stage.wait_until_clean(time.monotonic() + LEASE + 5)
    stage.heal()
    stage.assert_as_before()


def test_the_controller_and_the_fuse_are_stopped_and_heal_lets_go(stage: Stage) -> None:
    assert_killed(stage.run(kills="pair"))
    assert stage.fuses_standing() == 0
    assert len(stage.left()) >= 3, "there is something to heal"
    stage.heal()
    stage.assert_as_before()
    stage.heal()
    stage.assert_as_before()


def test_the_controller_is_stopped_and_heal_lets_go_while_the_fuse_does(stage: Stage) -> None:
    assert_killed(stage.run())
    time.sleep(LEASE - 0.5)
    stage.heal()
    stage.assert_as_before()


def test_the_fuse_is_stopped_and_the_controller_goes_on(stage: Stage) -> None:
    ended = stage.run(kills="pair", goes_on=True)
    assert set(ended.values()) == {0}
    stage.assert_as_before()


def assert_killed(ended: dict[str, int]) -> None:
    """Each ended by SIGKILL. The last was to be stopped after its last step: it had one more if it looked once more."""
    *stopped, last = ended.values()
    assert (set(stopped), last) in (({-SIGKILL}, 0), ({-SIGKILL}, -SIGKILL)), ended


def _run(batch: Batch) -> dict[str, tuple[int, int]]:
    argv = [sys.executable, "-m", "tests.stopped_controllers"]
    done = subprocess.run(argv, input=batch.dumps(), capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    rows: Callable[[str], list[str]] = str.split
    return {name: (int(status), int(taken)) for name, status, taken in map(rows, done.stdout.splitlines())}
