"""Faults on real hosts: a real kernel with netem, a real sshd, each host's whole state compared before and after."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from chaos import catalog
from chaos.clock import SystemClock
from chaos.contracts import Fault, Target
from chaos.errors import Objection
from chaos.faults.netem import Netem
from chaos.faults.process_kill import ProcessKill
from chaos.faults.process_pause import ProcessPause
from chaos.record.events import EventLog
from chaos.run.connect import controller
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.fuse import HOME
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site, read
from chaos.run.ledger import Ledger
from chaos.units import SI

ROOT = Path(__file__).parents[3]
WORKER_ADDRESS = "10.77.0.11"
ENGINE = r"^\S+ -S -m chaos.lab.appliance worker --name worker-1 "


@pytest.fixture
def inject(tmp_path: Path) -> Iterator[Callable[..., Injection]]:
    """Make an injection whose recording lies in a temporary folder."""
    clock = SystemClock()
    events = EventLog(tmp_path / "events.jsonl", clock)
    beats: list[Heartbeat] = []

    def make(fault: Fault[Any], target: Target, lease: float = 10.0) -> Injection:
        fuse_on, home = (controller(), str(tmp_path / "home")) if fault.undo_from == "controller" else (target, HOME)
        beats.append(Heartbeat(fuse_on, lease, lambda _: None, lambda _: None))
        beats[-1].start()
        return Injection(
            id=f"{tmp_path.name}.{fault.kind}",
            fault=fault,
            site=Site(target, fuse_on, home, beats[-1]),
            events=events,
            ledger=Ledger(tmp_path),
            clock=clock,
            lease=lease,
            hold=60,
        )

    yield make
    for beat in beats:
        beat.stop()
    events.close()


@contextmanager
def applied(injection: Injection) -> Iterator[Injection]:
    """Hold a fault; it is reverted and read back whatever happens inside."""
    injection.prepare()
    try:
        injection.arm()
        injection.apply()
        yield injection
    finally:
        injection.revert()


@contextmanager
def left_as_found(target: Target) -> Iterator[None]:
    """Compare the host's whole state before and after."""
    before = fingerprint(target)
    yield
    assert drift(before, fingerprint(target)) == []


def round_trips_ms(target: Target, count: int = 15) -> list[float]:
    """Return the round trips of pings from a host to worker-1 over the data network."""
    said = target.run(
        f"ping -q -c 2 -i 0.2 {WORKER_ADDRESS} >/dev/null; ping -c {count} -i 0.1 {WORKER_ADDRESS}"
    ).stdout
    return [float(ms) for ms in re.findall(r"time=([0-9.]+) ms", said)]


def test_a_delay_of_50_ms_is_measured_as_50_ms(
    worker: Target, gateway: Target, inject: Callable[..., Injection]
) -> None:
    """An emulated host is slow while the machine is busy: what is off is measured again, up to five times."""
    with left_as_found(worker):
        for _ in range(5):
            before = median(round_trips_ms(gateway))
            with applied(inject(Netem(interface="eth1", delay=SI(0.050)), worker)) as injection:
                under = median(round_trips_ms(gateway))
                dose = injection.measure_dose()
            after = median(round_trips_ms(gateway))
            if abs(under - before - 50) <= 2 and abs(after - before) <= 2:
                break
    assert under - before == pytest.approx(50, abs=2)
    assert after == pytest.approx(before, abs=2)
    assert dose.confirmed
    assert dose.achieved["delay_s"] == pytest.approx(0.050)
    assert dose.achieved["packets"] >= 15


def test_the_controller_keeps_its_own_connection_under_total_loss(
    worker: Target, inject: Callable[..., Injection]
) -> None:
    """The fault stands on the very interface that carries SSH, from the address that a probe would come from too."""
    with left_as_found(worker), applied(inject(Netem(interface="eth0", loss=SI(1.0)), worker)):
        began = time.monotonic()
        worker.probe_control_path()
        assert worker.run("tc qdisc show").stdout.count("netem") == 1
        assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "parameters",
    [
        {"loss": SI(0.1), "loss_correlation": SI(0.25), "corrupt": SI(0.01), "corrupt_correlation": SI(0.1)},
        {"delay": SI(0.02), "jitter": SI(0.005), "delay_correlation": SI(0.25), "duplicate": SI(0.02)},
        {"delay": SI(0.01), "reorder": SI(0.25), "reorder_correlation": SI(0.5), "gap": 5},
        {"rate": SI(1_250_000), "limit": 5000},
    ],
    ids=lambda p: "+".join(p),
)
def test_every_parameter_of_netem_reads_back_and_is_undone(
    parameters: dict[str, Any], worker: Target, inject: Callable[..., Injection]
) -> None:
    with left_as_found(worker), applied(inject(Netem(interface="eth1", **parameters), worker)) as injection:
        assert injection.applied


def test_a_qdisc_that_somebody_set_comes_back_to_the_letter(worker: Target, inject: Callable[..., Injection]) -> None:
    for kind in ("fq_codel limit 5000 target 7ms noecn", "sfq perturb 10"):
        worker.run(f"tc qdisc replace dev eth1 root handle 8123: {kind}")
        try:
            with left_as_found(worker), applied(inject(Netem(interface="eth1", delay=SI(0.01)), worker)):
                pass
        finally:
            worker.run("tc qdisc del dev eth1 root")


def test_a_tree_that_can_neither_stay_nor_be_put_back_is_objected_to(
    worker: Target, inject: Callable[..., Injection]
) -> None:
    """A plain ingress qdisc excludes the clsact that an impairment beside the tree would need."""
    tree = "tc qdisc add dev eth1 ingress; tc qdisc add dev eth1 root handle 1: htb default 10"
    worker.run(f"{tree}; tc class add dev eth1 parent 1: classid 1:10 htb rate 1gbit")
    try:
        with left_as_found(worker), pytest.raises(Objection, match=r"htb 1:.*can't be put back exactly"):
            inject(Netem(interface="eth1", delay=SI(0.01)), worker).prepare()
    finally:
        worker.run("tc qdisc del dev eth1 root; tc qdisc del dev eth1 ingress")


def test_a_paused_engine_does_not_answer_until_it_is_let_go(worker: Target, inject: Callable[..., Injection]) -> None:
    healthz = f"timeout 2 busybox wget -q -O - http://{WORKER_ADDRESS}:8000/healthz"
    with left_as_found(worker):
        assert worker.run(healthz, check=False).status == 0
        with applied(inject(ProcessPause(match=ENGINE), worker)) as injection:
            assert worker.run(healthz, check=False).status != 0
            assert injection.measure_dose().confirmed
        assert worker.run(healthz, check=False).status == 0


def test_a_killed_engine_is_back_when_the_fault_is_over(worker: Target, inject: Callable[..., Injection]) -> None:
    with (
        left_as_found(worker),
        applied(inject(ProcessKill(match=ENGINE), worker)) as injection,
    ):
        assert injection.measure_dose().confirmed


def test_a_power_cut_ends_with_the_host_booted_anew(vm_inventory: Path, worker: Target, tmp_path: Path) -> None:
    """The whole run: the lock in the host's /run goes with it, and is taken again once it is back."""
    (tmp_path / "cut.yaml").write_text(POWER_CUT, encoding="utf-8")
    boot = worker.run("cat /proc/sys/kernel/random/boot_id").stdout
    argv = [sys.executable, "-m", "chaos", "run", str(tmp_path / "cut.yaml"), "-i", str(vm_inventory)]
    with left_as_found(worker):
        done = subprocess.run(
            [*argv, "--out", str(tmp_path / "runs"), "--json"], capture_output=True, text=True, check=False
        )
        [verdict] = [json.loads(done.stdout)]
        [fault] = verdict["faults"]
        assert (fault["confirmed"], fault["reverted"], verdict["drift"]) == (True, True, []), done.stdout + done.stderr
        assert worker.run("cat /proc/sys/kernel/random/boot_id").stdout != boot
        wait_until(
            lambda: worker.run("busybox wget -q -O - http://127.0.0.1:8000/healthz", check=False).status == 0, 60
        )
        assert worker.run("ls -A /run/gameday 2>/dev/null; true").stdout == "", "the lock was released"
    log = next((tmp_path / "runs").glob("*/2*/events.jsonl"))
    ended = json.loads(log.read_text().splitlines()[-1])
    assert (ended["event"], ended["outcome"]) == ("run.ended", "done"), ended["why"]


def test_sigkill_of_the_controller_leaves_a_clean_host(vm_inventory: Path, worker: Target, tmp_path: Path) -> None:
    """The fault is gone, and the former qdisc back, within the lease and two seconds; `heal` then closes the ledger."""
    experiment = tmp_path / "kill.yaml"
    experiment.write_text(EXPERIMENT, encoding="utf-8")
    gameday = [sys.executable, "-m", "chaos"]
    options = ["-i", str(vm_inventory), "--out", str(tmp_path / "runs")]
    with left_as_found(worker):
        with subprocess.Popen([*gameday, "run", str(experiment), *options], stdout=subprocess.DEVNULL) as run:
            wait_until(lambda: "netem" in worker.run("tc qdisc show").stdout, 60)
            time.sleep(1)
            os.kill(run.pid, signal.SIGKILL)
            killed = time.monotonic()
        wait_until(lambda: "netem" not in worker.run("tc qdisc show").stdout, 30)
        assert time.monotonic() - killed <= 10 + 2
        healed = subprocess.run([*gameday, "heal", *options, "--json"], capture_output=True, text=True, check=False)
        assert healed.returncode == 0, healed.stdout + healed.stderr
        assert all(result["clean"] for result in json.loads(healed.stdout))
    ledger = next((tmp_path / "runs").glob("*/*/ledger.jsonl"))
    assert [json.loads(line)["state"] for line in ledger.read_text().splitlines()] == ["open", "closed"]


def test_ctrl_c_reverts_and_so_does_a_second_one(vm_inventory: Path, worker: Target, tmp_path: Path) -> None:
    experiment = tmp_path / "stop.yaml"
    experiment.write_text(EXPERIMENT, encoding="utf-8")
    argv = [
        sys.executable,
        "-m",
        "chaos",
        "run",
        str(experiment),
        "-i",
        str(vm_inventory),
        "--out",
        str(tmp_path / "runs"),
    ]
    with left_as_found(worker):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as run:
            wait_until(lambda: "netem" in worker.run("tc qdisc show").stdout, 60)
            for _ in range(2):
                run.send_signal(signal.SIGINT)
                time.sleep(0.2)
            said, _ = run.communicate(timeout=60)
        assert "netem" not in worker.run("tc qdisc show").stdout
    assert run.returncode == 4
    assert "SIGINT: undoing every fault" in said
    assert "SIGINT: still undoing" in said
    assert "interrupted" in said


def test_netlink_makes_the_same_as_tc_and_takes_it_away(worker: Target) -> None:
    """The netlink target runs in the guest itself: only there is a kernel with netem."""
    faults = [catalog.faults().get(kind).model_validate({"interface": "eth1", **given}) for kind, given in KINDS]
    before = read(worker, faults[0].reading())
    planned = pickle.dumps([(*fault.apply(before), *fault.revert(before)) for fault in faults])
    guest = f"""
import json, pickle
from chaos.contracts import PlantQdisc, UprootQdisc
from chaos.faults import _qdisc
from chaos.kernel import Qdisc
from chaos.targets import _tc
from chaos.targets.local import LocalTarget

options = json.loads('{json.dumps(FULL_NETEM)}')
target = LocalTarget("guest")
before = target.link("eth1")
place = _qdisc.place(before)
target.perform(PlantQdisc("eth1", Qdisc("netem", options=options), (), place))
by_netlink = dict(target.link("eth1").ours[place.device][0].options)
by_tc = dict(_tc.parse_link("eth1", target.run(_tc.link_script("eth1")).stdout).ours[place.device][0].options)
target.perform(UprootQdisc("eth1", place, 0.1))
shown = []
for plant, uproot in pickle.loads({planned!r}):
    for make in (target.make, lambda action: target.run(_tc.plant(action).do)):
        make(plant)
        shown.append(target.run("tc qdisc show dev " + plant.place.device).stdout)
        target.run(_tc.uproot(uproot).do)
print(json.dumps([by_netlink, by_tc, target.link("eth1") == before, shown]))
target.close()
"""
    with left_as_found(worker):
        path = os.pathsep.join((str(ROOT), *filter(None, sys.path)))
        run = f"PYTHONPATH={path} {sys.executable} -S -c {shlex.quote(guest)}"
        by_netlink, by_tc, clean, shown = json.loads(worker.run(run, timeout=120).stdout)
    assert clean
    assert shown[::2] == shown[1::2]
    assert [text.count("qdisc tbf c4a7: parent c4a6:1 ") for text in shown[::2]] == [1, 0, 1, 0]
    assert [text.count("qdisc netem c4a6: root ") for text in shown[::2]] == [1, 0, 1, 1]
    assert by_netlink == pytest.approx(FULL_NETEM, rel=1e-6)
    assert by_tc == pytest.approx(FULL_NETEM, rel=1e-5)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("shallow_buffer", {"rate": "800kbit", "buffer": "20kB"}),
    ("shallow_buffer", {"rate": "800kbit", "buffer": "20kB", "direction": "ingress"}),
    ("shallow_buffer", {"rate": "100gbit", "buffer": "2MB"}),
    ("pause_storm", {"pause": "5ms", "release_for": "1ms", "rate": "10gbit"}),
]

FULL_NETEM = {
    "limit": 4000,
    "delay": 0.05,
    "jitter": 0.005,
    "delay_correlation": 0.25,
    "loss": 0.01,
    "loss_correlation": 0.3,
    "duplicate": 0.02,
    "corrupt": 0.001,
    "corrupt_correlation": 0.1,
    "reorder": 0.25,
    "reorder_correlation": 0.5,
    "gap": 5,
    "rate": 12_500_000,
}


def wait_until(condition: Callable[[], bool], within: float) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.05)


POWER_CUT = """
name: cut
load:
  url: http://{gateway}/healthz
  arrivals: {process: constant, rate: 5/s}
timeline: {warmup: 0s, baseline: 3s, observe: 35s}
faults:
  - {kind: node_kill, on: worker-1, for: 3s}
"""

EXPERIMENT = """
name: killed
load:
  url: http://{gateway}/healthz
  arrivals: {process: constant, rate: 5/s}
timeline: {warmup: 0s, baseline: 3s, observe: 60s}
faults:
  - {kind: netem, on: worker-1, for: 55s, delay: 20ms}
"""
