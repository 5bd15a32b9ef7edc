"""disk_io: a disk is kept busy, by workers that read and write files of their own past the page cache.

How much they moved is read from the kernel (proc(5), io: what was fetched from the disk and sent to it), and not from
what they say. Their files have no names: nothing of them is left, however a worker ends, and none survives a reboot.
They are small, so a controller with a cache of its own may serve them from there; `sync` makes it write through.

Objected to: what is no disk of the host's own (an overlay may lie in memory, and others share what is on the network),
and a file system that would be left with less than the floor.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from chaos.contracts import Dose, Reading
from chaos.faults import _disk, _payload
from chaos.faults._payload import Seen
from chaos.units import Size

_DISKS = ("ext4", "xfs", "btrfs", "f2fs")
_FILE = 2**24
_FLOOR = 2**26

# what the kernel has read for the payload's processes and written, in bytes; `found` is the payload's
_MOVED = """moved=0; for pid in $(found); do
    for bytes in $(sed -n -e 's/^read_bytes: //p' -e 's/^write_bytes: //p' "/proc/$pid/io" 2>/dev/null); do
        moved=$((moved + bytes))
    done
done; echo "moved $moved"
"""


class DiskIo(_payload.PayloadFault):
    """Read and write on a disk, as fast as it goes."""

    kind: ClassVar[str] = "disk_io"
    example: ClassVar[str] = "{kind: disk_io, on: worker-1, for: 20s, path: /var/lib, workers: 8, mode: write}"
    release: ClassVar[str] = "what waited for the disk is served at once"
    shade: ClassVar[str] = "#6b705c"

    path: _disk.Path = Field(description="a directory on the disk")
    workers: int = Field(4, description="how many requests are under way at once, by as many processes", ge=1, le=64)
    mode: Literal["both", "read", "write"] = Field("both", description="what they do; `both` is one or the other")
    block: Size = Field(2.0**16, description="bytes of one request, a multiple of 4 KiB", ge=4096, le=2**24)
    sync: bool = Field(False, description="each write is to be on the disk before the next begins (O_DSYNC)")

    @field_validator("block")
    @classmethod
    def _whole_pages(cls, block: float) -> float:
        if block % 4096 or _FILE % block:
            raise ValueError(f"{block:g} bytes are no power of two from 4 KiB to 16 MiB")
        return block

    def reading(self) -> Reading[Seen]:
        """Ask for the payload, for what it moved, and for the file system below the path."""
        return Reading((self.payload.look(_MOVED + _disk.script(self.path)),), _payload.parse)

    def objection(self, before: Seen) -> str | None:
        """Object to what is no disk of the host's own, or is nearly full."""
        disk = _disk.of(before.also)
        if not disk.mount:
            return f"there is no directory {self.path}"
        if disk.kind not in _DISKS:
            return f"{disk.mount} is none of {', '.join(_DISKS)}, but {disk.kind}, which is no disk of this host's own"
        left = disk.free - self.workers * _FILE
        if left < _FLOOR or not disk.writable:
            return f"{disk.mount}: {_disk.mib(left)} would be left; it must be writable and keep {_disk.mib(_FLOOR)}"
        return super().objection(before)

    def typical(self) -> Seen:
        """No payload, and an empty disk."""
        return Seen(
            also={"mount": self.path, "statfs": f"ef53 4096 {2**30} {2**30} {2**30}", "memory": "0 kB", "writable": ""}
        )

    def asked(self) -> dict[str, float]:
        """So many workers."""
        return {"workers": float(self.workers)}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Return what went from and to the disk since they began; one that met no disk did nothing."""
        del before
        seconds = max(0.01, now.uptime - now.report["began"])
        moved = max(0.0, int(now.also["moved"]) - now.report["filled"]) / seconds
        achieved = {
            "workers": float(min(self.workers, now.processes - 2)),  # beside them: the keeper, and who started them
            "disk_bytes_per_s": moved,
            "requests_per_s": moved / self.block,
        }
        return Dose(achieved, moved > 0, "" if moved else "nothing went from or to the disk")

    @property
    def payload(self) -> _payload.Payload:
        """The workers."""
        sync = int(self.sync)
        return _payload.Payload.of("disk_io", self.path, self.workers, self.mode, round(self.block), _FILE, sync)
