"""A trial in which the undo is made impossible: somebody takes away the tool that it needs, while the fault is on.

The controller must say STUCK and end with 5; so must the fuse's state, and `heal`. Once the tool is back `heal` must
bring the host clean, from the same ledger and the same fuse.
"""

from __future__ import annotations

import time
from typing import Any

from chaos.errors import Exit
from tests.torture.commands import HOLD, IMPATIENT, Commands
from tests.torture.forks import Child
from tests.torture.hosts import Host

TOOLS = {"bandwidth": "tc", "netem": "tc", "partition": "nft"}
"""What the undo of a kind can't do without; a signal needs no tool."""
_TAKE = 'mount --bind /dev/null "$(command -v {tool})"'
_GIVE_BACK = "umount $(awk '$2 ~ /\\/{tool}$/ {{ print $2 }}' /proc/mounts)"
# a fuse wakes from its back-off when it is told to
_HURRY = "cd /run/gameday/fuses/* && kill -USR1 $(cat pid) && cat state"
_MOST = 300.0  # s for what is waited for, whatever else the machine does


def told_and_healed(
    host: Host, kind: str, parameters: dict[str, Any], at: float, commands: Commands
) -> tuple[float, list[str]]:
    """Live the fault, and take the tool away at this share of the hold.

    Returns how long `heal` took once the tool was back (s), and what was wrong.
    """
    enough = commands.folder / "enough"
    # a lease that does not run out before the tool is gone, where the machine has little time
    told = {"lease": host.life, "hold": _MOST, "enough": str(enough)}
    controller = commands.controller(kind, parameters, IMPATIENT, **told)
    tool = TOOLS[kind]
    _wait_until_applied(commands, controller)
    time.sleep(at * HOLD)
    host.target.run(_TAKE.format(tool=tool))
    try:
        enough.touch()
        wrong = _told(host, controller, commands)
    finally:
        host.target.run(_GIVE_BACK.format(tool=tool))
    began = time.monotonic()
    wrong += commands.heal_wrong()
    return time.monotonic() - began, wrong


def _told(host: Host, controller: Child, commands: Commands) -> list[str]:
    wrong = _not_told("the controller", controller.wait(_MOST), controller.said(), "may still be on: ")
    wrong += _not_told("heal", *commands.heal(patience=IMPATIENT), f"STUCK  {host.name}: ")
    wrong += _not_told("heal --check", *commands.heal("--check"), "LEFT")
    if not (state := _state_of_fuse(host)).startswith("STUCK: "):
        wrong.append(f"STUCK, and its fuse says {state!r}")
    return wrong


def _not_told(who: str, status: int | None, said: str, word: str) -> list[str]:
    return [] if status == Exit.STUCK and word in said else [f"STUCK, and {who} ended with {status}: {said}"]


def _state_of_fuse(host: Host) -> str:
    """Return it once it is STUCK, or after a while."""
    end = time.monotonic() + _MOST
    while not (state := host.target.run(_HURRY, check=False).stdout).startswith("STUCK") and time.monotonic() < end:
        time.sleep(0.1)
    return state


def _wait_until_applied(commands: Commands, controller: Child) -> None:
    end = time.monotonic() + _MOST
    while not commands.has_happened("fault.applied"):
        if controller.wait(0.05) is not None or time.monotonic() > end:
            raise AssertionError(f"the fault was not applied: {controller.said()}")
