"""The supervisor: starts a command, starts it again whenever it dies, and never leaves it behind.

    python -m chaos.lab.appliance supervise -- ARGV...

It waits before each start again: BACKOFF at first, doubling up to MAX_BACKOFF, and from the beginning after a run of
STABLE. SIGTERM and SIGINT are passed on as SIGTERM; a child that outlives GRACE is killed. If the supervisor itself is
killed, the kernel kills the child (PR_SET_PDEATHSIG, prctl(2)). A child that ends with 2 (wrong command line) would
only do so again: the supervisor ends with 2 as well.

The decision a reader would question: inherited descriptors stay open here, as `--listen fd:N` needs them again at each
start. So while the child is down, clients of such a socket wait in its backlog instead of being refused, as with
systemd's socket activation.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import signal
import subprocess
import time

log = logging.getLogger(__name__)

BACKOFF, MAX_BACKOFF, STABLE = 0.1, 2.0, 10.0
GRACE = 5.0
USAGE = 2
_PR_SET_PDEATHSIG = 1
_STOP = {signal.SIGTERM, signal.SIGINT}
_WATCHED = _STOP | {signal.SIGCHLD}


def next_backoff(backoff: float, lived: float) -> float:
    """Return the wait before the next start, given the wait before this one (0 for the first) and its life, in s."""
    return BACKOFF if lived >= STABLE or not backoff else min(2 * backoff, MAX_BACKOFF)


def supervise(argv: list[str]) -> int:
    """Run until told to stop; return the exit status."""
    # Signals are taken one by one in _wait, so none can come between looking and waiting.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    backoff = 0.0
    while True:
        started = time.monotonic()
        child = _start(argv)
        if _wait(child, None):
            return _stop(child)
        if child.returncode == USAGE:
            return USAGE
        backoff = next_backoff(backoff, time.monotonic() - started)
        log.warning("supervise: ended with %d, again in %g s: %s", child.returncode, backoff, shlex.join(argv))
        if _wait(None, backoff):
            return 0


def _start(argv: list[str]) -> subprocess.Popen[bytes]:
    libc, parent = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

    return subprocess.Popen(argv, close_fds=False, preexec_fn=in_child)


def _wait(child: subprocess.Popen[bytes] | None, seconds: float | None) -> bool:
    """Wait for the child's end, or `seconds`; return True as soon as there is a signal to stop."""
    deadline = time.monotonic() + (seconds if seconds is not None else float("inf"))
    while child is None or child.poll() is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        found = signal.sigtimedwait(_WATCHED, min(left, 60.0))  # it takes no infinity
        if found is not None and found.si_signo in _STOP:
            return True
    return False


def _stop(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    _wait(child, GRACE)
    if child.poll() is None:
        log.warning("supervise: %d did not end within %g s; killing it", child.pid, GRACE)
        child.kill()
    child.wait()
    return 0
