"""Copies memory, over and over: PROCESSES BYTES FLOOR. Each process copies from one buffer of BYTES to another.

Prints `copied=` (bytes by all of them, each once read and once written) and `seconds=` since the first, once a second.
Where MemAvailable falls below FLOOR bytes it ends, and with it what it holds.
"""

import mmap
import os
import sys
import time
from pathlib import Path

MIB = 1 << 20
SLICE = 16 * MIB  # bytes from one look at the parent to the next


def available() -> int:
    """Return MemAvailable in bytes."""
    said = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(said["MemAvailable"].split()[0]) * 1024


def copy(size: int, counter: memoryview, parent: int) -> None:
    """Copy for as long as the parent lives, and count the bytes."""
    source, to = mmap.mmap(-1, size), memoryview(mmap.mmap(-1, size))
    for at in range(0, size, MIB):  # a page that was never written is the one page of zeros
        source[at : at + MIB] = b"\1" * min(MIB, size - at)
    whole = memoryview(source)
    while True:
        for at in range(0, size, SLICE):
            if os.getppid() != parent:
                return
            part = whole[at : at + SLICE]
            to[at : at + SLICE] = part
            counter[0] += len(part)


def main(processes: int, size: int, floor: int) -> None:
    """Start the processes; end with all of them when one ends or the parent does."""
    parent, mine = os.getppid(), os.getpid()
    counters = memoryview(mmap.mmap(-1, 8 * processes)).cast("Q")
    began = time.monotonic()
    for index in range(processes):
        if os.fork() == 0:
            copy(size, counters[index : index + 1], mine)
            os._exit(0)
    while os.getppid() == parent:
        if all(counters):
            sys.stdout.write(f"copied={sum(counters)} seconds={time.monotonic() - began:.3f}\n")
            sys.stdout.flush()
        if available() < floor:
            sys.exit(f"MemAvailable fell below the floor of {floor // MIB} MiB")
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            sys.exit(f"process {ended} ended with {status}")
        time.sleep(1.0 if all(counters) else 0.1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
