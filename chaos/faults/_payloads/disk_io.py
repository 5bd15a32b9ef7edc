"""Reads and writes files of its own: FOLDER WORKERS MODE BLOCK SIZE SYNC. Prints `began=` and `filled=` when at work.

Each worker has a file of SIZE bytes in FOLDER, which never has a name (open(2), O_TMPFILE), so that nothing of it is
left however this ends. It is written once (`filled=` bytes in all), for what was never written is not read from a disk;
then blocks at random places are read or written past the page cache (O_DIRECT), one after the other; with SYNC each
write is on the disk before the next begins (O_DSYNC).
"""

import mmap
import os
import random
import sys
import time
from pathlib import Path

MIB = 1 << 20


def fill(file: int, size: int) -> None:
    """Write all of it."""
    part = mmap.mmap(-1, MIB)  # O_DIRECT wants memory that begins where a page does
    part.write(os.urandom(MIB))
    for at in range(0, size, MIB):
        if os.pwrite(file, part, at) != MIB:
            sys.exit("the file system is full")


def work(file: int, mode: str, block: int, size: int, parent: int) -> None:
    """Read and write for as long as the parent lives."""
    part = mmap.mmap(-1, block)
    part.write(os.urandom(block))
    chance = {"read": 0.0, "write": 1.0, "both": 0.5}[mode]
    while os.getppid() == parent:
        at = random.randrange(size // block) * block
        if random.random() < chance:
            os.pwrite(file, part, at)
        else:
            os.lseek(file, at, os.SEEK_SET)
            os.readv(file, [part])


def main(folder: str, workers: int, mode: str, block: int, size: int, sync: bool) -> None:
    """Start the workers; end with all of them when one ends or the parent does."""
    parent, mine = os.getppid(), os.getpid()
    ready, done = os.pipe()
    for _ in range(workers):
        if os.fork() == 0:
            file = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT | (os.O_DSYNC if sync else 0), 0o600)
            fill(file, size)
            os.write(done, b".")
            work(file, mode, block, size, mine)
            os._exit(0)
    os.close(done)
    for _ in range(workers):
        if not os.read(ready, 1):
            sys.exit("the workers have ended")
    up = Path("/proc/uptime").read_text().split()[0]
    sys.stdout.write(f"began={up} filled={workers * size}\n")
    sys.stdout.flush()
    while os.getppid() == parent:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            sys.exit(f"worker {ended} ended with {status}")
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6] == "1")
