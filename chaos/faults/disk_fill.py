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
from shlex import quote
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, Dose, Fault, Output, Reading, Shell
from chaos.faults._disk import KINDS, MARK, MOUNT_OF, Disk, Path, mib, parse, script
from chaos.units import Share, Size

_IN_MEMORY = ("tmpfs", "overlay")  # what lies below an overlay is not told
_NEAR = 0.01  # of the file system's size


class DiskFill(Fault[Disk]):
    """Fill a file system, to a share or until so much is free."""

    kind: ClassVar[str] = "disk_fill"
    example: ClassVar[str] = "{kind: disk_fill, on: worker-1, for: 20s, path: /var/log, used: 95%}"
    release: ClassVar[str] = "none of its own: who failed to write tries again, or does not"
    shade: ClassVar[str] = "#8a6d3b"

    path: Path = Field(description="a directory on the file system to fill")
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
        return Reading((Output(script(self.path)),), parse)

    def objection(self, before: Disk) -> str | None:
        """Object to file systems that are not to be filled, to leftovers, and to what would leave less than `keep`."""
        left = self._left(before)
        takes, where = before.free - left, before.mount
        to_root, memory = before.root_free - takes, before.memory
        wrong = (
            (not where, f"there is no directory {self.path}"),
            (
                before.kind not in KINDS.values(),
                f"{where} is none of {', '.join(KINDS.values())}, but of type {before.kind} (statfs(2))",
            ),
            (before.marks, f"ours is there already: {', '.join(before.marks)}; `gameday heal` takes it away"),
            (before.holds_run, f"{where} holds /run, where the fuse and systemd stand"),
            (not before.writable, f"{where} can't be written to"),
            (takes <= 0, f"{where}: {mib(left)} free were asked for, and {mib(before.free)} are"),
            (
                to_root < self.keep,
                f"{where}: {mib(max(0, to_root))} would be left to root; `keep` is {mib(self.keep)}",
            ),
            (
                before.kind in _IN_MEMORY and takes > memory / 2,
                f"{where} may lie in memory: {mib(takes)} would be taken of the {mib(memory)} that are available",
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
        return [Shell(f"rm -rf {folder}", until=f'{MOUNT_OF}[ "$(mount_of {mount})" = {mount} ] && [ ! -e {folder} ]')]

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
        why = f"{mib(now.free)} were free at the end, where {mib(self._left(before))} were asked for"
        near = self._is_near(before, now)
        return Dose(achieved, near, "" if near else why)

    @property
    def persists(self) -> bool:
        """The file is there after a reboot."""
        return True

    def _left(self, before: Disk) -> int:
        """What is to be free, in bytes."""
        return round(self.free) if self.free is not None else round((1 - (self.used or 0.0)) * before.usable)

    def _is_near(self, before: Disk, now: Disk) -> bool:
        return abs(now.free - self._left(before)) <= _NEAR * now.size

    def _folder(self, before: Disk) -> str:
        text = f"{self.used} {self.free} {self.keep}"
        return f"{before.mount.rstrip('/')}/{MARK}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
