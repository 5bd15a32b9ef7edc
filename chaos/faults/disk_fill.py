"""disk_fill: a file system is filled, to a share or until so much is free, by one file of ours.

The file is allocated and not written (fallocate(1)), which takes no time and wears out no disk; where a file system
can't do that it is written, which takes the disk's own time. "Free" and "used" are df(1)'s: what users who are not root
may still write. Root has the reserve beside it, if the file system keeps any, and `keep` is left to root in any case:
services and the fuse write on. The host computes the file's size at the moment itself, and looks again afterwards, for
others write too; how much is free later is theirs to change, and is in the dose.

The file lies in a directory of ours at the top of the file system, where `gameday heal` finds it. It survives a reboot,
and so does its undo. Objected to: file systems that other hosts share, that compress or that only the kernel fills;
the one of /run, where the fuse stands; and in memory, one that would take more than half of what memory is available.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from shlex import quote
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from chaos.contracts import Action, Dose, Fault, Output, Reading, Shell
from chaos.units import Share, Size

_MARK = ".gameday-fill-"
_KINDS = {
    "ef53": "ext4",
    "58465342": "xfs",
    "9123683e": "btrfs",
    "f2f52010": "f2fs",
    "1021994": "tmpfs",
    "794c7630": "overlay",
}
"""By the magic numbers of statfs(2); that of ext4 is ext2's and ext3's too."""
_ALLOWED = ", ".join(_KINDS.values())
_IN_MEMORY = ("tmpfs", "overlay")  # what lies below an overlay is not told
_NEAR = 0.01  # of the file system's size


def _path(value: str) -> str:
    if not value.startswith("/") or len(value) > 1000 or not value.isprintable():
        raise ValueError(f"{value!r} is no absolute path; write one like /var/lib/models")
    return value


@dataclass(frozen=True)
class Disk:
    """A file system as it was read, in bytes; `root_free` is what root may still write, `free` what others may."""

    mount: str = ""
    kind: str = ""
    size: int = 0
    root_free: int = 0
    free: int = 0
    holds_run: bool = False
    writable: bool = False
    memory: int = 0
    marks: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """What df(1) counts as the whole: used and available."""
        return self.size - self.root_free + self.free


class DiskFill(Fault[Disk]):
    """Fill a file system, to a share or until so much is free."""

    kind: ClassVar[str] = "disk_fill"
    example: ClassVar[str] = "{kind: disk_fill, on: worker-1, for: 20s, path: /var/log, used: 95%}"
    release: ClassVar[str] = "none of its own: who failed to write tries again, or does not"
    shade: ClassVar[str] = "#8a6d3b"
    persists: ClassVar[bool] = True

    path: Annotated[str, AfterValidator(_path)] = Field(description="a directory on the file system to fill")
    used: Share | None = Field(None, description="the share that is used then, as df(1) counts; this, or `free`", gt=0)
    free: Size | None = Field(None, description="how much is left to who is not root; this, or `used`", ge=0)
    keep: Size = Field(2.0**26, description="a floor: what root may still write then, at least", ge=2**22)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.used is None) == (self.free is None):
            raise ValueError("give either `used` or `free`")
        return self

    def reading(self) -> Reading[Disk]:
        """Ask for the file system below the path."""
        return Reading((Output(_MOUNT + _READ.format(path=quote(self.path), mark=_MARK)),), _parse)

    def objection(self, before: Disk) -> str | None:
        """Object to file systems that are not to be filled, to leftovers, and to what would leave less than `keep`."""
        left = self._left(before)
        takes, where = before.free - left, before.mount
        to_root, memory = before.root_free - takes, before.memory
        wrong = (
            (not where, f"there is no directory {self.path}"),
            (
                before.kind not in _KINDS.values(),
                f"{where} is none of {_ALLOWED}, but of type {before.kind} (statfs(2))",
            ),
            (before.marks, f"ours is there already: {', '.join(before.marks)}; `gameday heal` takes it away"),
            (before.holds_run, f"{where} holds /run, where the fuse and systemd stand"),
            (not before.writable, f"{where} can't be written to"),
            (takes <= 0, f"{where}: {_mib(left)} free were asked for, and {_mib(before.free)} are"),
            (
                to_root < self.keep,
                f"{where}: {_mib(max(0, to_root))} would be left to root; `keep` is {_mib(self.keep)}",
            ),
            (
                before.kind in _IN_MEMORY and takes > memory / 2,
                f"{where} may lie in memory: {_mib(takes)} would be taken of the {_mib(memory)} that are available",
            ),
        )
        return next((why for found, why in wrong if found), None)

    def apply(self, before: Disk) -> list[Action]:
        """Allocate until what is asked for is left."""
        folder, mount = quote(self._folder(before)), quote(before.mount)
        script = _FILL.format(folder=folder, mount=mount, left=self._left(before), keep=round(self.keep))
        return [Shell(script)]

    def revert(self, before: Disk) -> list[Action]:
        """Remove the file; while the file system is not mounted nobody can tell."""
        folder = quote(self._folder(before))
        mount = quote(before.mount)
        return [Shell(f"rm -rf {folder}", until=f'{_MOUNT}[ "$(mount_of {mount})" = {mount} ] && [ ! -e {folder} ]')]

    def typical(self) -> Disk:
        """A file system of 100 GB, half full, at the path."""
        return Disk(self.path, "ext4", 10**11, 5 * 10**10, 5 * 10**10, writable=True, memory=10**10)

    def is_applied(self, before: Disk, now: Disk) -> bool:
        """Our file is there, and what is left is near what was asked for."""
        return self._folder(before) in now.marks and self._is_near(before, now)

    def is_reverted(self, before: Disk, now: Disk) -> bool:
        """The file system is there, and our file is not; how much is free is for others to change."""
        return now.mount == before.mount and self._folder(before) not in now.marks

    def asked(self) -> dict[str, float]:
        """Return the share, or what is left."""
        return {"used_share": self.used} if self.used is not None else {"free_bytes": float(self.free or 0)}

    def dose(self, before: Disk, now: Disk) -> Dose:
        """Return the same of the file system as it was at the end: what others have freed or written counts."""
        used = 1 - now.free / now.usable if now.usable else 0.0
        achieved = {"used_share": used} if self.used is not None else {"free_bytes": float(now.free)}
        if self._folder(before) not in now.marks:
            return Dose(achieved, False, "somebody has removed the file")
        why = f"{_mib(now.free)} were free at the end, where {_mib(self._left(before))} were asked for"
        near = self._is_near(before, now)
        return Dose(achieved, near, "" if near else why)

    def _left(self, before: Disk) -> int:
        """What is to be free, in bytes."""
        return round(self.free) if self.free is not None else round((1 - (self.used or 0.0)) * before.usable)

    def _is_near(self, before: Disk, now: Disk) -> bool:
        return abs(now.free - self._left(before)) <= _NEAR * now.size

    def _folder(self, before: Disk) -> str:
        text = f"{self.used} {self.free} {self.keep}"
        return f"{before.mount.rstrip('/')}/{_MARK}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


_MOUNT = """\
mount_of() { # PATH; what stands behind the share that is used, or behind the dash of what has no size
    df -P "$1" 2>/dev/null | sed -n -e '2{s/.*[0-9]% *//p;t' -e 's/.* - *//p;}'
}
"""

_READ = """path={path}
[ -d "$path" ] || exit 0
mount=$(mount_of "$path")
[ -d "$mount" ] || exit 0
echo "statfs $(stat -f -c '%t %S %b %f %a' "$mount")"
[ "$(stat -c %d "$mount")" != "$(stat -c %d /run)" ] || echo run
[ ! -w "$mount" ] || echo writable
sed -n 's/^MemAvailable: */memory /p' /proc/meminfo
for mark in "${{mount%/}}"/{mark}*; do [ ! -e "$mark" ] || echo "mark $mark"; done
echo "mount $mount\""""

# what is asked for is what others have left, so it is looked at again: an allocation takes blocks of its own
_FILL = """umask 077
folder={folder} mount={mount} left={left} keep={keep}
mkdir "$folder" 2>/dev/null
[ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ] && cd "$folder" || exit 1
for _ in 1 2 3 4 5; do
    fs=$(stat -f -c '%S %f %a' "$mount") || exit 1
    block=${{fs%% *}} fs=${{fs#* }}
    more=$((block * ${{fs#* }} - left)) size=$(stat -c %s file 2>/dev/null || echo 0)
    [ "$more" -ge "$block" ] || [ "$more" -le -"$block" ] || break
    if [ $((block * ${{fs% *}} - more)) -lt "$keep" ]; then echo "it would pass the floor" >&2; exit 1; fi
    if [ "$more" -lt 0 ]; then [ "$size" -gt $((-more)) ] && truncate -s $((size + more)) file || break
    else fallocate -l $((size + more)) file 2>/dev/null || head -c "$more" /dev/zero >>file || exit 1; fi
done"""


def _parse(said: str) -> Disk:
    lines = [line.partition(" ")[::2] for line in said.splitlines()]
    known = dict(lines)
    if "mount" not in known:
        return Disk()
    kind, *numbers = known["statfs"].split()
    block, blocks, root_free, free = map(int, numbers)
    return Disk(
        mount=known["mount"],
        kind=_KINDS.get(kind, kind),
        size=block * blocks,
        root_free=block * root_free,
        free=block * free,
        holds_run="run" in known,
        writable="writable" in known,
        memory=int(known["memory"].split()[0]) * 1024,
        marks=tuple(rest for word, rest in lines if word == "mark"),
    )


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
