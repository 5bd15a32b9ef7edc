"""What the forms of `setting` share: what is seen of a value, and the undo that is due while it is changed.

A service may have read a value that stands there no longer. So that it is told again, whatever fails meanwhile, the
undo is due (`_due`) from before the value is changed until the service was told of the former one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from shlex import quote

from chaos.contracts import Shell
from chaos.faults import _due, _unit
from chaos.faults._unit import Unit

_UNIT = """echo --unit
{show} {unit} || exit 1
echo --asking; cat /proc/self/cgroup"""

# at boot an undo runs before anything is started: nobody has to be told
_TOLD = """undone || exit 1
[ -d {folder} ] || exit 0
if [ ! -d /run/systemd/system ] || systemctl is-active --quiet sysinit.target; then
{tell}
fi
{done}"""

# by whomever and however often it is asked for, it is ordered once, and started again where it fails
_RENEW = """    run() {{ systemctl show --value -p InvocationID {unit}; }}
    [ -e {folder}/run ] || {{
        run >{folder}/run
        systemctl restart --no-block {unit}
    }}
    read -r former <{folder}/run
    other() {{ [ "$(run)" != "$former" ] && systemctl is-active --quiet {unit}; }}
    ! systemctl is-failed --quiet {unit} || {{ systemctl reset-failed {unit}; systemctl start --no-block {unit}; }}
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do other && break; sleep 1; done
    other || exit 1"""


@dataclass(frozen=True)
class Seen:
    """A value as text, None where there is none, and what is to be known beside it."""

    value: str | None
    wrong: str = ""
    """Why it is not to be changed."""
    due: bool = False
    """Whether an undo of ours is due."""
    unit: Unit = field(default_factory=lambda: Unit({}))
    asking: str = field(default="", compare=False)
    """The cgroups of who asks."""


class Form(ABC):
    """Where a value stands, how it gets there and who is told; each method as in `contracts.Fault`, in sh."""

    @property
    @abstractmethod
    def wanted(self) -> str:
        """The value under the fault, as it is seen there."""

    @abstractmethod
    def look(self) -> str:
        """Sh that prints what `parse` reads."""

    @abstractmethod
    def parse(self, printed: str) -> Seen:
        """Return what is seen."""

    @abstractmethod
    def objection(self, before: Seen) -> str | None:
        """Why not, or None."""

    @abstractmethod
    def apply(self, before: Seen) -> str:
        """Set it."""

    @abstractmethod
    def revert(self, before: Seen) -> Shell:
        """Put back what was there."""

    @abstractmethod
    def is_on_its_way(self, before: Seen, now: Seen) -> bool:
        """Whether the value is set, be the service still about to take it."""

    @abstractmethod
    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Whether the service has it."""

    @abstractmethod
    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Whether it is as it was."""


def told(folder: str, undone: str, tell: str) -> str:
    """Return sh that undoes, and tells the service where that is due; the folder goes once it was told."""
    return f"undone() {{\n{undone}\n}}\n" + _TOLD.format(folder=folder, tell=tell, done=_due.done(folder))


def looks(first: str, folder: str, unit: str) -> str:
    """Return sh that prints what `parsed` reads, behind what `first` prints."""
    shown = _UNIT.format(show=_unit.SHOW, unit=quote(unit)) if unit else ""
    return f"{first}\n[ ! -d {folder} ] || echo due\n{shown}"


def parsed(printed: str) -> tuple[dict[str, str], Unit, str]:
    """Return what `looks` printed: its lines by their first word, the unit, and the cgroups of who asks."""
    lines, _, rest = printed.partition("--unit\n")
    shown, _, asking = rest.partition("--asking\n")
    said = {word: text for word, _, text in (line.partition(" ") for line in lines.splitlines())}
    (unit,) = _unit.parse(shown) or [Unit({})]
    return said, unit, "/".join(asking.split())


def order(unit: str, before: Seen) -> str:
    """Return sh that orders a restart of the run that was read, so that twice is once."""
    run = f'"$(systemctl show --value -p InvocationID {quote(unit)})"'
    return f"[ {run} != {quote(before.unit['InvocationID'])} ] || systemctl restart --no-block {quote(unit)}"


def renewal(unit: str, folder: str) -> str:
    """Return sh for `told` that has another run of a unit begin, and ends with 1 while none does."""
    return _RENEW.format(unit=quote(unit), folder=folder)


def objection_to_restart(unit: str, seen: Seen) -> str | None:
    """Return why a unit is not to be restarted."""
    if seen.unit["LoadState"] != "loaded":
        return f"{unit} is {seen.unit['LoadState'] or 'not there'}; `systemctl list-units` lists those there are"
    if why := _unit.objection(seen.unit):
        return f"{unit} {why}"
    if any(name in seen.asking.split("/") for name in seen.unit["Names"].split()):
        return f"{unit} is what this controller, and so its fuse, runs in"
    return None if seen.unit.is_active else f"{unit} is {seen.unit['ActiveState']}; a setting is of what runs"


def has_new_run(before: Seen, now: Seen) -> bool:
    """Whether another run of the unit is active than the one that was read."""
    return now.unit.is_active and not now.unit.moves and now.unit["InvocationID"] != before.unit["InvocationID"]
