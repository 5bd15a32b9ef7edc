"""Takes memory until a target is reached, and keeps it there: KIND TARGET FLOOR.

KIND is `used` (MemTotal less MemAvailable is to be TARGET, a share of MemTotal), `available` (MemAvailable is to be
TARGET bytes) or `taken` (this process is to hold TARGET bytes). /proc/meminfo is read before every step, since others
take and give meanwhile. Where MemAvailable falls below FLOOR bytes all is given back at once, and the program ends;
FLOOR 0 is a twentieth of MemTotal, and 128 MiB at least.

What is taken is written with random bytes, other ones in each page (zram and zswap can't press it, nor KSM join it),
and locked where that is allowed, so that it is not swapped. Prints `held=` in bytes, and `reached=1` at the target.
"""

import ctypes
import mmap
import os
import sys
import time
from pathlib import Path

MIB = 1 << 20
STEP = 16 * MIB
GRAIN = 1 << 16  # bytes; whole pages, on every machine there is
NEAR = 0.002  # of MemTotal, or of what is to be taken
FIRST_WORD = 3.0  # s: whoever started it waits no longer for the target
LIBC = ctypes.CDLL(None, use_errno=True)


def meminfo() -> "tuple[int, int]":
    """Return MemTotal and MemAvailable in bytes: the first and the third line (proc(5))."""
    total, _, available, _ = Path("/proc/meminfo").read_text().split("\n", 3)
    return int(total.split()[1]) * 1024, int(available.split()[1]) * 1024


def own() -> int:
    """Return how much memory of its own this process has, in bytes (proc(5), statm)."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * mmap.PAGESIZE


class Held:
    """What is taken: mappings of whole grains."""

    def __init__(self) -> None:
        self.parts: list[mmap.mmap] = []
        self.random = os.urandom(2 * MIB)
        self.window = 0

    def take(self, size: int) -> None:
        """Take so many bytes more, touched and locked."""
        part = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.c_char.from_buffer(part)
        LIBC.mlock(ctypes.byref(start), ctypes.c_size_t(size))
        del start  # or it could never be closed
        for at in range(0, size, MIB):
            self.window = (self.window + 7919) % MIB
            end = min(MIB, size - at)
            part[at : at + end] = self.random[self.window : self.window + end]
        self.parts.append(part)

    def give(self, size: int) -> None:
        """Give back so many bytes, or as much more as the last part is larger."""
        while self.parts and size > 0:
            part = self.parts.pop()
            size -= len(part)
            part.close()


def missing(kind: str, target: float, total: int, available: int) -> float:
    """Return how many bytes are to be taken yet; less than 0 where there are too many."""
    if kind == "used":
        return target * total - (total - available)
    return available - target if kind == "available" else target - own()


def main(kind: str, target: float, floor: int) -> None:
    """Follow the target while the parent lives."""
    parent, began, held, said = os.getppid(), time.monotonic(), Held(), ""
    floor = floor or max(128 * MIB, meminfo()[0] // 20)
    while os.getppid() == parent:
        total, available = meminfo()
        if available < floor:
            held.give(1 << 62)
            sys.exit(f"MemAvailable fell to {available >> 20} MiB, below the floor of {floor >> 20} MiB")
        more = missing(kind, target, total, available)
        near = max(GRAIN, NEAR * (target if kind == "taken" else total))
        step = int(min(more, STEP, (available - floor) / 4)) // GRAIN * GRAIN
        if step > 0:
            held.take(step)
        elif more < -near:
            held.give(-int(more))
        report = f"held={own() // GRAIN * GRAIN} reached={int(abs(more) <= near)}\n"
        if report != said and (said or abs(more) <= near or time.monotonic() > began + FIRST_WORD):
            said = report
            sys.stdout.write(report)
            sys.stdout.flush()
        time.sleep(0.0 if step == STEP else 0.2)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
