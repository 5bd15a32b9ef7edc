"""One trial: a fault is lived on a host by a real controller, something dies at a random instant, and it must let go.

Everything about a trial follows from its seed: the kind of fault and its parameters, what is disturbed, and when.
Before it somebody else's objects are put on the host; afterwards they must be there to the letter.

    disturbed     what happens                                               clean within
    controller    SIGKILL                                                    lease + 2 s
    fuse          SIGKILL of the fuse's program                              lease + 5 s of the disturbance's end
    guardian      SIGKILL of its partner                                       "
    sshd          listener and sessions killed, started again later            "
    path          the network is cut at the bridge, mended later               "
    reboot        the host's first process is killed, the host started anew    "
    nothing       the control                                                  "
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from chaos.errors import TargetError
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.sweep import MARKS, sweep
from chaos.targets.local import LocalTarget
from tests.hosts import SshHosts

LEASE = 3.0  # s
_LIFE = 4.0  # s: connecting, arming, applying, holding, undoing
_HOLD = 1.5  # s
_LOOK = 0.5  # s: what a look at a host may take
_DECOY = "sleep 98765"
_FOREIGN = """
nft -f - <<'END'
table inet somebody { chain input { type filter hook input priority 0; tcp dport 9 counter drop; }; }
END
tc qdisc replace dev eth0 root handle 7: htb default 10
tc class replace dev eth0 parent 7: classid 7:10 htb rate 1gbit
tc filter replace dev eth0 parent 7: pref 5 handle 800::1 protocol ip u32 match ip dport 9 0xffff flowid 7:10
"""
# a new host's link-local address brings its route once nobody else was found to have it (RFC 4862, 5.4)
_SETTLED = 'for i in 1 2 3 4 5 6 7 8 9; do [ -n "$(ip -6 addr show dev eth0 tentative)" ] || break; sleep 0.5; done'
DISTURBANCES = ("controller", "controller", "fuse", "guardian", "sshd", "path", "reboot", "nothing")


@dataclass(frozen=True)
class Outcome:
    """What became of a trial; `wrong` says each promise that was broken. `cleared` in s after the disturbance."""

    seed: int
    kind: str
    disturbed: str
    at: float
    cleared: float
    wrong: tuple[str, ...]


def run_trial(hosts: SshHosts, name: str, seed: int, folder: Path) -> Outcome:
    """Run the trial of a seed on a host of its own."""
    dice = random.Random(seed)
    kind, parameters = dice.choice(_kinds(dice))
    disturbed, at = dice.choice(DISTURBANCES), dice.uniform(0, _LIFE)
    here = LocalTarget(name, hosts.pid_of(name))
    hosts.inside(name, f"{_FOREIGN}\n{_SETTLED}\n{_DECOY} >/dev/null 2>&1 &")
    before = fingerprint(here)
    controller = _controller(hosts, name, kind, parameters, folder)
    began = time.monotonic()
    time.sleep(at)
    ended = _disturb(hosts, name, disturbed, controller, dice)
    rebooted = disturbed == "reboot"
    here = LocalTarget(name, hosts.pid_of(name))
    start = ended if disturbed == "controller" else max(ended, began + _LIFE)
    allowed = LEASE + (2 if disturbed == "controller" else 5)
    wrong = _wait(lambda: _left(here), start + allowed)
    cleared = time.monotonic() - ended
    if disturbed != "controller":
        wrong += _status(controller, rebooted)
    wrong += _heal(hosts, folder)
    if not rebooted:
        wrong += [f"drift: {line}" for line in drift(before, fingerprint(here))]
    _tidy(hosts, name)
    here.close()
    return Outcome(seed, kind, disturbed, at, cleared, tuple(wrong))


def _kinds(dice: random.Random) -> list[tuple[str, dict[str, object]]]:
    return [
        ("process_pause", {"match": f"^{_DECOY}"}),
        ("bandwidth", {"interface": "eth0", "rate": f"{dice.randint(1, 900)}mbit"}),
        ("partition", {"action": dice.choice(["drop", "reject"]), "direction": dice.choice(["both", "ingress"])}),
    ]


def _controller(
    hosts: SshHosts, name: str, kind: str, parameters: dict[str, object], folder: Path
) -> subprocess.Popen[str]:
    recording = folder / "runs" / "torture" / folder.name
    recording.mkdir(parents=True)
    inventory = yaml.safe_load(hosts.inventory_path.read_text())
    inventory["hosts"] = {name: inventory["hosts"][name]}
    inventory["groups"] = {}
    (folder / "inventory.yaml").write_text(yaml.safe_dump(inventory))
    spec = {
        "inventory": str(folder / "inventory.yaml"), "host": name, "kind": kind, "parameters": parameters,
        "folder": str(recording), "lease": LEASE, "hold": _HOLD,
    }  # fmt: skip
    argv = [*hosts.enter_command, sys.executable, "-m", "tests.torture.controller", json.dumps(spec)]
    return subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment(folder)
    )


def _disturb(hosts: SshHosts, name: str, what: str, controller: subprocess.Popen[str], dice: random.Random) -> float:
    """Do it, and mend what can be mended; return when it was over."""
    away = dice.uniform(0.2, 2 * LEASE)
    match what:
        case "controller":
            controller.kill()
            controller.communicate()
        case "fuse" | "guardian":
            file = "pid" if what == "fuse" else "guardian"
            kill = 'for f in /run/gameday/fuses/*/%s; do read -r p <"$f" && kill -KILL "$p"; done 2>/dev/null; true'
            hosts.inside(name, kill % file)
        case "sshd":
            hosts.stop_sshd(name)
            time.sleep(away)
            hosts.start_sshd(name)
        case "path":
            hosts.cut(name)
            time.sleep(away)
            hosts.mend(name)
        case "reboot":
            hosts.reboot(name)
    return time.monotonic()


def _left(here: LocalTarget) -> list[str]:
    """Return what of a fault can be read on the host: marks, a stopped decoy, a fuse that has not let go."""
    try:
        found = [f"{swept.name} {swept.item}" for swept in sweep(here, MARKS, remove=False)]
        stopped = here.run("grep -l '^State:.T' /proc/[0-9]*/status 2>/dev/null; true").stdout.split()
        states = here.run("cat /run/gameday/fuses/*/state 2>/dev/null; true").stdout.splitlines()
    except TargetError as error:
        return [f"can't be read: {error}"]
    return found + stopped + [f"fuse: {state}" for state in states if not state.startswith(("clean", "disarmed"))]


def _wait(left: Callable[[], list[str]], until: float) -> list[str]:
    """Look until nothing is left; a look that takes long shows a machine without time, which moves the deadline."""
    while True:
        began = time.monotonic()
        if not (found := left()):
            return []
        until += max(0.0, time.monotonic() - began - _LOOK)
        if time.monotonic() > until:
            return [f"left: {what}" for what in found]
        time.sleep(0.1)


def _status(controller: subprocess.Popen[str], rebooted: bool) -> list[str]:
    """The controller must end by itself, and never say STUCK of a host that is clean."""
    try:
        _, said = controller.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        controller.send_signal(signal.SIGKILL)
        controller.communicate()
        return ["the controller did not end"]
    allowed = (0, 4, 5) if rebooted else (0, 4)  # what a reboot took away nobody can read as it was
    return [] if controller.returncode in allowed else [f"the controller ended with {controller.returncode}: {said}"]


def _heal(hosts: SshHosts, folder: Path) -> list[str]:
    wrong = []
    for more in ([], ["--check"]):
        options = ["-i", str(folder / "inventory.yaml"), "--out", str(folder / "runs"), *more]
        argv = [*hosts.enter_command, sys.executable, "-m", "chaos", "heal", *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90, env=_environment(folder))
        if done.returncode:
            wrong.append(f"heal {' '.join(more)}: {done.returncode}: {done.stdout}{done.stderr}")
    return wrong


def _environment(folder: Path) -> dict[str, str]:
    """A state folder of the trial's own, for both: the ledger is signed with the key in it."""
    return os.environ | {"XDG_STATE_HOME": str(folder / "state")}


def _tidy(hosts: SshHosts, name: str) -> None:
    """Take away what this trial put there itself."""
    decoy = "for p in /proc/[0-9]*; do ! grep -qs '^sleep.98765' $p/cmdline || kill -KILL ${p#/proc/}; done"
    hosts.inside(name, f"nft delete table inet somebody; tc qdisc del dev eth0 root; {decoy}; true")
