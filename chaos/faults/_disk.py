"""File systems as the faults see them: where a path's is mounted, of which kind it is, and what is free on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Annotated

from pydantic import AfterValidator

MARK = ".gameday-fill-"
"""How a directory of ours at the top of a file system begins."""
KINDS = {
    "ef53": "ext4",
    "58465342": "xfs",
    "9123683e": "btrfs",
    "f2f52010": "f2fs",
    "1021994": "tmpfs",
    "794c7630": "overlay",
}
"""By the magic numbers of statfs(2); that of ext4 is ext2's and ext3's too."""


def _path(value: str) -> str:
    if not value.startswith("/") or len(value) > 1000 or not value.isprintable():
        raise ValueError(f"{value!r} is no absolute path; write one like /var/lib/models")
    return value


Path = Annotated[str, AfterValidator(_path)]
"""A directory on a host."""


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


MOUNT_OF = """\
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


def script(path: str) -> str:
    """Return sh that looks at the file system below a path; a path that is not there prints nothing."""
    return MOUNT_OF + _READ.format(path=quote(path), mark=MARK)


def parse(said: str) -> Disk:
    """Return what `script` printed."""
    lines = [line.partition(" ")[::2] for line in said.splitlines()]
    return of(dict(lines), tuple(rest for word, rest in lines if word == "mark"))


def of(known: Mapping[str, str], marks: tuple[str, ...] = ()) -> Disk:
    """Return the same from its lines by their first words, whatever else stands there."""
    if "mount" not in known:
        return Disk()
    kind, *numbers = known["statfs"].split()
    block, blocks, root_free, free = map(int, numbers)
    return Disk(
        mount=known["mount"],
        kind=KINDS.get(kind, kind),
        size=block * blocks,
        root_free=block * root_free,
        free=block * free,
        holds_run="run" in known,
        writable="writable" in known,
        memory=int(known["memory"].split()[0]) * 1024,
        marks=marks,
    )


def mib(size: float) -> str:
    """Return a size for people."""
    return f"{size / 2**20:,.0f} MiB"
