"""disk_throttle: a cgroup may read from a disk and write to it only so fast (io.max, or blkio.throttle of cgroup v1).

The disk is the one below a path; the kernel takes limits for whole disks only. What was there before, limit by limit,
is put back. Limits hold for what a process does itself past the page cache, and for reading; what the kernel writes
back later is counted to the cgroup by version 2 alone (cgroups(7)). A cgroup that goes away takes its limits with it,
so a unit that systemd starts anew has none: the dose says so.

A limit bears no mark: with its ledger and its fuse lost, nobody can know of it. A reboot undoes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, Output, Reading, Shell
from chaos.faults import _disk
from chaos.units import BitRate, Rate

_FILES = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
"""The limits by their names in version 2, and in version 1."""
_UNITS = {"rbps": "read_bytes_per_s", "wbps": "write_bytes_per_s", "riops": "reads_per_s", "wiops": "writes_per_s"}
_CGROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@\\-]*(/[A-Za-z0-9_][A-Za-z0-9_.:@\\-]*)*")
_NONE = "max"


def _cgroup(value: str) -> str:
    if not _CGROUP.fullmatch(value) or len(value) > 1000:
        raise ValueError(f"{value!r} is no cgroup; write it as systemd-cgls(1) has it, like system.slice/vllm.service")
    return value


@dataclass(frozen=True)
class Limits:
    """A cgroup's limits for one disk (`8:0`); `version` is 0 where it has none, `asking` the cgroup of who asks."""

    disk: str = ""
    version: int = 0
    values: tuple[tuple[str, str], ...] = tuple((name, _NONE) for name in _FILES)
    asking: str = ""


class DiskThrottle(Fault[Limits]):
    """Limit how fast a cgroup reads from a disk and writes to it."""

    kind: ClassVar[str] = "disk_throttle"
    example: ClassVar[str] = (
        "{kind: disk_throttle, on: worker-1, for: 20s, cgroup: system.slice/vllm.service, path: /var/lib, read: 10mbps}"
    )
    release: ClassVar[str] = "requests that waited for their turn are served at once"
    shade: ClassVar[str] = "#7c6a5a"

    cgroup: Annotated[str, AfterValidator(_cgroup)] = Field(description="whom, like system.slice/vllm.service")
    path: _disk.Path = Field(description="a directory on the disk")
    read: BitRate | None = Field(None, description="how fast it may read", ge=4096)
    write: BitRate | None = Field(None, description="how fast it may write", ge=4096)
    reads: Rate | None = Field(None, description="how many reads it may make", ge=1)
    writes: Rate | None = Field(None, description="how many writes it may make", ge=1)

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.limits:
            raise ValueError("give at least one of `read`, `write`, `reads` and `writes`")
        return self

    def reading(self) -> Reading[Limits]:
        """Ask for the disk and for the limits; the control path is proved after applying."""
        script = _READ.format(path=quote(self.path), cgroup=quote(self.cgroup))
        return Reading((Output(script), ControlPath()), lambda said, _: _parse(said))

    def objection(self, before: Limits) -> str | None:
        """Object where there is no such disk or cgroup, and to the cgroup of who asks."""
        if not before.disk:
            return f"below {self.path} is no disk of which the kernel could limit the use"
        if not before.version:
            return f"there is no cgroup {self.cgroup}, or no io controller is on for it (io.max, blkio.throttle.*)"
        if f"{before.asking}/".startswith(f"/{self.cgroup}/") or self.cgroup.startswith("gameday"):
            return f"the controller's own commands, or a fuse, run in {self.cgroup}"
        tighter = [name for name, value in before.values if _is_below(value, self.limits.get(name))]
        return f"{', '.join(tighter)} of {self.cgroup} is as tight already" if tighter else None

    def apply(self, before: Limits) -> list[Action]:
        """Write the limits."""
        return [Shell(f"{_enter(self.cgroup, before)} || exit 1\n{_write(before, self.limits)}")]

    def revert(self, before: Limits) -> list[Action]:
        """Write back those that were there; where the cgroup is gone, so are they."""
        former = {name: value for name, value in before.values if name in self.limits}
        gone = f"{_enter(self.cgroup, before)} 2>/dev/null || exit 0\n"
        until = " && ".join(_holds(before, name, value) for name, value in former.items())
        return [Shell(gone + _write(before, former), until=gone + until)]

    def typical(self) -> Limits:
        """A disk, and a cgroup of version 2 without limits."""
        return Limits("8:0", 2)

    def is_applied(self, before: Limits, now: Limits) -> bool:
        """Each limit reads as it was asked."""
        del before
        return all(dict(now.values)[name] == value for name, value in self.limits.items())

    def is_reverted(self, before: Limits, now: Limits) -> bool:
        """Each reads as it did, or the cgroup is gone."""
        return now.values == before.values or not now.version

    def asked(self) -> dict[str, float]:
        """Return the limits, in bytes/s and in requests/s."""
        return {_UNITS[name]: float(value) for name, value in self.limits.items()}

    def dose(self, before: Limits, now: Limits) -> Dose:
        """Return the limits as they stand at the end."""
        held = {name: value for name, value in now.values if name in self.limits and value != _NONE}
        confirmed = self.is_applied(before, now)
        why = (
            "" if confirmed else f"{self.cgroup} no longer had the limits: it was started anew, or somebody set others"
        )
        return Dose({_UNITS[name]: float(value) for name, value in held.items()}, confirmed, why)

    @property
    def limits(self) -> dict[str, str]:
        """What was asked for, by the names of io.max."""
        given = {"rbps": self.read, "wbps": self.write, "riops": self.reads, "wiops": self.writes}
        return {name: str(round(value)) for name, value in given.items() if value is not None}


# the numbers of the device, as makedev(3) puts them together; of a partition, those of the disk that it is on
_READ = """device=$(stat -c %d {path}) || exit 0
device=$(((device >> 8) & 0xfff)):$(((device & 0xff) | ((device >> 12) & 0xfff00)))
[ ! -e "/sys/dev/block/$device/partition" ] || device=$(cat "/sys/dev/block/$device/../dev")
[ -d "/sys/dev/block/$device" ] || exit 0
echo "disk $device"
if cd /sys/fs/cgroup/{cgroup} 2>/dev/null && [ -e io.max ]; then
    echo "version 2"
    sed -n "s/^$device //p" io.max | tr ' ' '\\n' | tr = ' '
    sed -n 's/^0::/asking /p' /proc/self/cgroup
elif cd /sys/fs/cgroup/blkio/{cgroup} 2>/dev/null && [ -e blkio.throttle.read_bps_device ]; then
    echo "version 1"
    for limit in read_bps write_bps read_iops write_iops; do
        sed -n "s/^$device /$limit /p" "blkio.throttle.${{limit}}_device"
    done
    sed -n 's/^[0-9]*:blkio:/asking /p' /proc/self/cgroup
fi"""


def _parse(said: str) -> Limits:
    known = dict(line.partition(" ")[::2] for line in said.splitlines())
    values = tuple((name, known.get(name) or known.get(first) or _NONE) for name, first in _FILES.items())
    return Limits(known.get("disk", ""), int(known.get("version") or 0), values, known.get("asking", ""))


def _enter(cgroup: str, found: Limits) -> str:
    return f"cd {quote('/sys/fs/cgroup/' + ('blkio/' if found.version == 1 else '') + cgroup)}"


def _write(found: Limits, values: dict[str, str]) -> str:
    """Sh that sets limits, in their cgroup; of version 1, 0 is none."""
    if found.version == 2:
        words = " ".join(f"{name}={value}" for name, value in values.items())
        return f"echo '{found.disk} {words}' >io.max"
    lines = (f"echo '{found.disk} {value.replace(_NONE, '0')}' >{_file(name)}" for name, value in values.items())
    return " &&\n".join(lines)


def _holds(found: Limits, name: str, value: str) -> str:
    """Sh that is true once one limit reads so; a disk without any has no line."""
    if found.version == 2:
        is_set = f'grep -q "^{found.disk} .*{name}=[0-9]" io.max'
        return f"! {is_set}" if value == _NONE else f'grep -q "^{found.disk} .*{name}={value}\\( \\|$\\)" io.max'
    is_set = f'grep -q "^{found.disk} " {_file(name)}'
    return f"! {is_set}" if value == _NONE else f'grep -qx "{found.disk} {value}" {_file(name)}'


def _file(name: str) -> str:
    return f"blkio.throttle.{_FILES[name]}_device"


def _is_below(value: str, wanted: str | None) -> bool:
    return wanted is not None and value != _NONE and int(value) <= int(wanted)
