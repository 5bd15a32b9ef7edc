"""command: a check of your own. No shell stands between: the list is what is run.

It gets a session of its own, and no input; what it writes is dropped. Whatever it started there is killed with it when
the timeout is over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL
from contextlib import suppress
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from probes.errors import ErrorKind
from probes.health._probe import Outcome, Probe


def _run(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0]:
        raise ValueError("must begin with a program, like [./check.sh, gateway]")
    if any("\0" in word for word in argv):
        raise ValueError("holds a NUL, which no argument can")
    return argv


class Command(Probe):
    """Run a command; well when it exits with status 0."""

    kind: ClassVar[str] = "command"

    run: Annotated[tuple[str, ...], AfterValidator(_run)]
    """The program and its arguments, as a list; no shell reads it."""

    async def check(self) -> Outcome:
        """Run it to its end, or kill it when cancelled."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.run, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
            )
        except OSError:  # it was there when the run began: says nothing about the target
            return Outcome(ErrorKind.LOCAL_RESOURCES)
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return Outcome(ErrorKind.UNHEALTHY if status else ErrorKind.OK, status)

    def objection(self) -> str | None:
        """Return that there is no such program, or None."""
        if shutil.which(self.run[0]) is None:
            return f"there is no program {self.run[0]!r} that may be run here"
        return None
