"""One trial: a fault is lived on a host by a real controller, something dies at a random instant, and it must let go.

Everything about a trial follows from its seed and the sort of its host: the kind of fault and its parameters, what is
disturbed, and when. Before it somebody else's objects are put on the host; afterwards they must be there to the letter.

    disturbed     what happens                                               clean within
    controller    SIGKILL                                                    lease + 2 s
    fuse          SIGKILL of the fuse's program                              lease + 5 s of the disturbance's end
    guardian      SIGKILL of its partner                                       "
    sshd          listener and sessions killed, started again later            "
    path          the network is cut, mended later                             "
    reboot        the host ends at once, and is booted                         "
    tool          what the undo needs is taken away: STUCK (tests/torture/stuck.py)
    nothing       the control                                                  "
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.errors import ChaosError
from chaos.run.fingerprint import drift
from tests.torture.commands import LEASE, Commands
from tests.torture.forks import Child
from tests.torture.hosts import INTERFACE, Host, Sort
from tests.torture.scene import DECOY, clear_scene, left, set_scene, settled_fingerprint, wait_until_clear
from tests.torture.stuck import TOOLS, told_and_healed

_KILL = 'for f in /run/gameday/fuses/*/%s; do read -r p <"$f" && kill -KILL "$p"; done 2>/dev/null; true'
DISTURBANCES = ("controller", "controller", "fuse", "guardian", "sshd", "path", "reboot", "nothing", "tool")


@dataclass(frozen=True)
class Trial:
    """What a seed says. `at` is a share of the fault's life; `away` in s, for what is mended."""

    seed: int
    disturbed: str
    kind: str
    parameters: dict[str, Any]
    at: float
    away: float

    @classmethod
    def of(cls, seed: int, possible: tuple[str, ...]) -> Trial:
        """Throw the dice."""
        dice = random.Random(seed)
        disturbed, faults = _disturbed(dice), _faults(dice)
        usable = [kind for kind in possible if disturbed != "tool" or kind in TOOLS]
        kind = dice.choice(usable)
        return cls(seed, disturbed, kind, faults[kind], dice.random(), dice.uniform(0.2, 2 * LEASE))

    @property
    def allowed(self) -> float | None:
        """How long the host may take to be clean, in s; of one that is STUCK that can't be said."""
        return {"controller": LEASE + 2, "tool": None}.get(self.disturbed, LEASE + 5)


@dataclass(frozen=True)
class Outcome:
    """What became of a trial; `wrong` says each promise that was broken. `at` and `cleared` in s.

    `cleared` counts from when the disturbance and the fault's own life were over (of a killed controller: from its
    death), and is None where there is nothing that can be said.
    """

    trial: Trial
    sort: Sort
    at: float
    cleared: float | None
    wrong: tuple[str, ...]


def run_trial(host: Host, seed: int, folder: Path) -> Outcome:
    """Run the trial of a seed. A host that may not be what it was is booted, whatever the reason."""
    trial = Trial.of(seed, host.kinds)
    at, cleared = trial.at * host.life, None
    try:
        cleared, wrong = _lived(host, trial, Commands(host, folder))
    except (ChaosError, OSError, subprocess.SubprocessError, AssertionError):
        wrong = [f"the trial itself failed: {traceback.format_exc()}"]
    if wrong:
        host.reboot()
    return Outcome(trial, host.sort, at, cleared, tuple(wrong))


def _lived(host: Host, trial: Trial, commands: Commands) -> tuple[float | None, list[str]]:
    before = set_scene(host)
    if trial.disturbed == "tool":
        cleared, wrong = told_and_healed(host, trial.kind, trial.parameters, trial.at, commands)
    else:
        cleared, wrong = _disturbed_and_clean(host, trial, commands)
        wrong += commands.heal_wrong()
    if trial.disturbed != "reboot":
        wrong += [f"drift: {line}" for line in drift(before, settled_fingerprint(host))]
    wrong += [f"left at the end: {what}" for what in left(host)]
    clear_scene(host)
    return cleared, wrong


def takes_long(seed: int) -> bool:
    """Whether a trial had better begin first, lest all the others wait for it."""
    return _disturbed(random.Random(seed)) == "tool"


def _disturbed(dice: random.Random) -> str:
    return dice.choice(DISTURBANCES)


def _faults(dice: random.Random) -> dict[str, dict[str, Any]]:
    delay = {"delay": f"{dice.randint(1, 200)}ms", "jitter": f"{dice.randint(1, 50)}ms"}
    return {
        "process_pause": {"match": f"^{DECOY}"},
        "bandwidth": {"interface": INTERFACE, "rate": f"{dice.randint(1, 900)}mbit"},
        "partition": {"action": dice.choice(["drop", "reject"]), "direction": dice.choice(["both", "ingress"])},
        "netem": {"interface": INTERFACE} | dice.choice([delay, {"loss": f"{dice.randint(1, 60)}%"}]),
    }


def _disturbed_and_clean(host: Host, trial: Trial, commands: Commands) -> tuple[float, list[str]]:
    controller = commands.controller(trial.kind, trial.parameters)
    began = time.monotonic()
    time.sleep(trial.at * host.life)
    _disturb(host, trial, controller)
    start = ended = time.monotonic()
    if trial.disturbed != "controller":
        start = max(ended, began + host.life)
    assert trial.allowed is not None
    cleared, wrong = wait_until_clear(host, start, trial.allowed)
    if trial.disturbed != "controller":
        wrong += _status(controller, rebooted=trial.disturbed == "reboot")
    return cleared, wrong


def _disturb(host: Host, trial: Trial, controller: Child) -> None:
    """Do it, and mend what can be mended."""
    match trial.disturbed:
        case "controller":
            os.kill(controller.pid, signal.SIGKILL)
            controller.wait(60)
        case "fuse":
            host.target.run(_KILL % "pid")
        case "guardian":
            host.target.run(_KILL % "guardian")
        case "sshd":
            host.lose_sshd(trial.away)
        case "path":
            host.lose_path(trial.away)
        case "reboot":
            host.reboot()


def _status(controller: Child, *, rebooted: bool) -> list[str]:
    """The controller must end by itself, and never say STUCK of a host that is clean."""
    status = controller.wait(300)
    if status is None:
        os.kill(controller.pid, signal.SIGKILL)
        return ["the controller did not end"]
    allowed = (0, 4, 5) if rebooted else (0, 4)  # what a reboot took away nobody can read as it was
    return [] if status in allowed else [f"the controller ended with {status}: {controller.said()}"]
