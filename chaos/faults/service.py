"""service: a unit of systemd is stopped, and started again when the fault ends; or it is restarted, once.

`mask` stops it and has every start refused meanwhile, by whomever: what a broken update leaves, and what supervisors,
timers and colleagues run into. It is a drop-in of ours in /run/systemd/system with an assertion that fails
(systemd.unit(5)), which holds wherever the unit's own file lies, and is gone with a reboot.

Stopping a unit stops those that require it too, and those are not started by starting it (systemd.unit(5)); and a
socket, a timer or a path would start it again. So all of these are read, what would start it is stopped with it, and
the undo starts each that was active. The order is given to systemd without waiting for it (systemctl(1), --no-block):
a service may take minutes to come up, and does so whatever becomes of us. Whether it is enabled is not touched.

Objected to, and by nothing forced: what sshd, the network, systemd itself or the fuse may hang on, what would take a
target down, and what could not be started again as it was. The undo of `mask` lies on the host, where `gameday heal`
finds it; a unit that is merely stopped bears no mark: with its ledger and its fuse lost, nobody can know of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from shlex import quote
from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Action, ControlPath, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _due, _unit
from chaos.faults._unit import Unit


@dataclass(frozen=True)
class Units:
    """The unit, those that stop with it or would start it again, and the cgroups of who asks."""

    unit: Unit
    others: tuple[Unit, ...]
    asking: str

    @property
    def active(self) -> tuple[str, ...]:
        """The names of those that are to run again; a socket goes first, for it can't follow its service."""
        names = (unit["Id"] for unit in (self.unit, *self.others) if unit.is_active)
        return tuple(sorted(names, key=lambda name: not name.endswith(".socket")))


class Service(Fault[Units]):
    """Stop a systemd service for a while, also refusing every start of it, or restart it once."""

    kind: ClassVar[str] = "service"
    example: ClassVar[str] = "{kind: service, on: worker-1, for: 20s, unit: nginx}"
    release: ClassVar[str] = "the service starts: its start-up is part of recovery"
    shade: ClassVar[str] = "#a0522d"
    needs: ClassVar[tuple[Need, ...]] = (_unit.SYSTEMD,)
    settle: ClassVar[float] = 180.0

    unit: _unit.Name = Field(description="the service; `.service` may be left out")
    action: Literal["stop", "mask", "restart"] = Field(
        "stop", description="stop it until the fault ends, also refuse every start of it, or restart it once"
    )

    def reading(self) -> Reading[Units]:
        """Ask systemd; the control path is proved after applying."""
        return Reading(
            (Output(_READ.format(unit=quote(self.unit), show=_unit.SHOW)), ControlPath()), lambda said, _: _parse(said)
        )

    def objection(self, before: Units) -> str | None:
        """Object to what the control path may hang on, and to what could not be started again as it was."""
        unit = before.unit
        if unit["LoadState"] != "loaded":
            return f"{self.unit} is {unit['LoadState'] or 'not there'}; `systemctl list-units` lists those there are"
        for other in (unit, *before.others):
            stops = other is unit or other.is_active or other.moves
            if stops and (why := _unit.objection(other)):
                with_it = "" if other is unit else f", and stopping {self.unit} would stop it too"
                return f"{other['Id']} {why}{with_it}"
        if any(name in before.asking.split("/") for name in unit["Names"].split()):
            return f"{self.unit} is what this controller, and so its fuse, runs in"
        return None if unit.is_active else f"{self.unit} is {unit['ActiveState']} already"

    def apply(self, before: Units) -> list[Action]:
        """Give the order; a restart only to the run that was read, so that twice is once."""
        stop = f"systemctl stop --no-block {_words(before.active)}"
        if self.action == "mask":
            masked = _MASK.format(drop_in=self._drop_in, drop_ins=self._drop_ins)
            return [Shell(f"{_due.laid(self._folder, self._undo(before))}\n{masked}\n{stop}")]
        if self.action == "stop":
            return [Shell(stop)]
        run = f'"$(systemctl show -p InvocationID {quote(self.unit)})"'
        order = f"systemctl restart --no-block {quote(self.unit)}"
        return [Shell(f"[ {run} != InvocationID={before.unit['InvocationID']} ] || {order}")]

    def revert(self, before: Units) -> list[Action]:
        """Start each that was active, and give it twenty seconds to be; one that failed too often may start again."""
        return [self._undo(before)]

    def typical(self) -> Units:
        """It runs, and nothing hangs on it."""
        shown = {"Id": self.unit, "Names": self.unit, "LoadState": "loaded", "ActiveState": "active", "CanStart": "yes"}
        return Units(Unit(shown | {"CanStop": "yes", "InvocationID": "0" * 32}), (), "")

    def is_applied(self, before: Units, now: Units) -> bool:
        """It is stopped, or is being stopped; of a restart, another run has begun or is about to."""
        stopped = now.unit["ActiveState"] in ("inactive", "failed", "deactivating")
        return stopped or (self.action == "restart" and self._restarts(before, now) > 0)

    def is_reverted(self, before: Units, now: Units) -> bool:
        """All that was active is, and nothing of it is on its way."""
        units = {unit["Id"]: unit for unit in (now.unit, *now.others)}
        same = now.unit["SubState"] == before.unit["SubState"]
        return same and all(name in units and units[name].is_active and not units[name].moves for name in before.active)

    def asked(self) -> dict[str, float]:
        """One stop, or one restart."""
        return {"restarts" if self.action == "restart" else "stopped": 1.0}

    def dose(self, before: Units, now: Units) -> Dose:
        """Return whether it is still stopped, or how often it was started: a restarted one may have failed again."""
        if self.action != "restart":
            stopped = now.unit["ActiveState"] in ("inactive", "failed")
            why = f"it was {now.unit['ActiveState']} at the end of the fault"
            return Dose({"stopped": float(stopped)}, stopped, "" if stopped else why)
        restarts = self._restarts(before, now)
        return Dose({"restarts": float(restarts)}, restarts > 0, "" if restarts else "it is the same run as before")

    def _undo(self, before: Units) -> Shell:
        names = before.active
        sockets = [name for name in names if name.endswith(".socket")]
        down = _words(tuple(name for name in names if name not in sockets))
        free = "".join(f"systemctl is-active --quiet {quote(name)} || systemctl stop {down}\n" for name in sockets)
        until = " && ".join(f"systemctl is-active --quiet {quote(name)}" for name in names)
        start = free + _START.format(names=_words(names), until=until)
        if self.action != "mask":
            return Shell(start, until=until)
        unmask = _UNMASK.format(drop_in=self._drop_in, drop_ins=self._drop_ins)
        gone = f"[ ! -e {self._drop_in} ] && [ ! -e {self._folder} ]"
        done = f"{{ {until}; }} || exit 1\n{_due.done(self._folder)}"
        return Shell(f"{unmask}\n{start}\n{done}", until=f"{gone} && {until}")

    @property
    def _folder(self) -> str:
        return f"{_due.HOME}/service-{hashlib.sha256(self.unit.encode()).hexdigest()[:8]}"

    @property
    def _drop_ins(self) -> str:
        return quote(f"/run/systemd/system/{self.unit}.d")

    @property
    def _drop_in(self) -> str:
        return quote(f"/run/systemd/system/{self.unit}.d/gameday-refused.conf")

    def _restarts(self, before: Units, now: Units) -> int:
        """How many runs have begun, by systemd's own count, which a restart sets to 0."""
        if now.unit["InvocationID"] == before.unit["InvocationID"]:
            return 0
        return 1 + int(now.unit["NRestarts"] or 0)


_READ = """set -f
shown= next={unit}
while [ -n "$next" ]; do
    shown="$shown $next" found=
    names=$(systemctl show --value -p RequiredBy -p BoundBy -p ConsistsOf -p PropagatesStopTo -p TriggeredBy $next)
    for name in $names; do
        case " $shown $found " in *" $name "*) ;; *) found="$found $name" ;; esac
    done
    next=$found
done
{show} $shown || exit 1
echo --
cat /proc/self/cgroup"""

_MASK = """mkdir -p {drop_ins} && echo '[Unit]
AssertPathExists=/run/gameday/refused-by-a-fault' >{drop_in} && systemctl daemon-reload || exit 1"""

_UNMASK = """[ ! -e {drop_in} ] || {{ rm -f {drop_in} && rmdir {drop_ins} 2>/dev/null; systemctl daemon-reload; }}"""

_START = """systemctl reset-failed {names} 2>/dev/null
systemctl start --no-block {names}
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    {{ {until}; }} && break
    sleep 1
done"""


def _parse(said: str) -> Units:
    blocks, _, asking = said.partition("\n--\n")
    unit, *others = _unit.parse(blocks)
    return Units(unit, tuple(others), "/".join(asking.split()))


def _words(names: tuple[str, ...]) -> str:
    return " ".join(map(quote, names))
