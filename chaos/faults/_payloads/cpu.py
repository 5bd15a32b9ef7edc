"""Takes a share of the time of some cores: CORES SHARE. Prints `began=` with /proc/uptime once its workers run.

Each worker is a process with a debt: the share of the time since it began, less what the kernel says that it took. It
spins until the debt is paid, and sleeps to the end of the period. A debt that a busy host did not let it pay is
forgiven but for a second, so that it never takes more later on to make up for it.
"""

import os
import sys
import time
from pathlib import Path

PERIOD = 0.02
FORGIVEN = 1.0


def spin(until: float) -> None:
    """Spin until this process took so much of the CPU, in s; its clock is a system call, so it is not read often."""
    while time.process_time() < until:
        for _ in range(2000):
            pass


def work(share: float, parent: int) -> None:
    """Take the share for as long as the parent lives."""
    began = time.monotonic() - time.process_time() / share
    while os.getppid() == parent:
        now = time.monotonic()
        debt = share * (now - began) - time.process_time()
        if debt > FORGIVEN:
            began += (debt - FORGIVEN) / share
            debt = FORGIVEN
        if debt > 0:
            spin(time.process_time() + min(debt, PERIOD))
        time.sleep(max(0.0, now + PERIOD - time.monotonic()))


def main(cores: int, share: float) -> None:
    """Start the workers; end with all of them when one ends or the parent does."""
    parent = os.getppid()
    mine = os.getpid()
    for _ in range(cores):
        if os.fork() == 0:
            work(share, mine)
            os._exit(0)
    sys.stdout.write("began=" + Path("/proc/uptime").read_text().split()[0] + "\n")
    sys.stdout.flush()
    while os.getppid() == parent:
        time.sleep(0.5)
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            sys.exit(f"worker {ended} ended with {status}")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
