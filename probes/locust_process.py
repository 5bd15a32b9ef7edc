"""`python -m probes.locust_process PLAN.json ARGUMENTS`: one process of Locust, as it is, with a recorder beside it.

The arguments are Locust's own and make it a master or a worker; what it exits with is Locust's too. It ends when its
owner closes the pipe that is its standard input: a load must never run on without one. Locust is told by SIGTERM and
given GRACE; then the process ends whatever the locustfile is doing.
"""

from __future__ import annotations

import _thread
import os
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from time import sleep

GRACE = 5.0  # s
_STDIN = 0


def main(argv: Sequence[str]) -> None:
    """Run Locust with the arguments behind the plan; leaves by SystemExit, as Locust does."""
    if stat.S_ISFIFO(os.fstat(_STDIN).st_mode):
        # before gevent makes threads its own, so that a user which never yields can't hold it up
        _thread.start_new_thread(_end_with_owner, ())
    import locust.main

    from probes.locust_plan import LocustPlan
    from probes.locust_recorder import recorder

    path, *arguments = argv
    sys.argv = ["locust", *arguments]
    with closing(recorder(LocustPlan.read(Path(path)))):
        locust.main.main()


def _end_with_owner() -> None:
    while os.read(_STDIN, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
