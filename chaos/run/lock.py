"""One controller a host: a directory on the host, made in one step by mkdir(1), that says who holds it and until when.

A lock whose lease ran out is taken over, but only when no fuse stands on the host: one that does is still letting go.
The owner's name says machine and process, so that `heal` on that machine can tell that its owner is dead.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from chaos.contracts import Target
from chaos.errors import Locked
from chaos.run.fuse import HOME, NOW


def this_process() -> str:
    """Return the owner's name of this process."""
    user = os.environ.get("USER") or f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be gone: a process of this machine that is no more. Elsewhere nobody can tell."""
    named = re.fullmatch(rf".*@{re.escape(socket.gethostname())} pid (\d+)", owner)
    return named is not None and not Path(f"/proc/{named[1]}").exists()


@dataclass(frozen=True)
class HostLock:
    """The lock of one host; `lease` in s."""

    target: Target
    owner: str
    lease: float
    home: str = HOME

    def take(self) -> None:
        """Take the lock. Raises Locked, naming the holder."""
        lock, fuses = quote(f"{self.home}/lock"), quote(f"{self.home}/fuses")
        takeover = f"if {self._abandoned()}; then rm -rf {lock}; fi"
        mine = f"printf '%s\\n' {quote(self.owner)} >{lock}/owner; {self._until(lock)}"
        held = f"echo held; cat {lock}/owner 2>/dev/null; ls {fuses} 2>/dev/null; true"
        take = f"if mkdir {lock} 2>/dev/null; then {mine}; else {held}; fi"
        said = self.target.run(f"umask 077; mkdir -p {quote(self.home)}; {takeover}\n{take}").stdout.strip()
        if said:
            holder = " ".join(said.split("\n")[1:]) or "somebody who did not say who"
            raise Locked(
                f"{self.target.name}: another run holds this host ({holder}); wait for it, or, if it is dead, "
                f"`gameday heal` finishes what it left"
            )

    def holder(self) -> str:
        """Return who holds the host; empty when nobody does, or when the lock would be taken over. Only looks."""
        shown = f"cat {quote(self.home)}/lock/owner 2>/dev/null || true"
        return self.target.run(f"if {self._abandoned()}; then :; else {shown}; fi").stdout.strip()

    def drop_abandoned(self) -> None:
        """Remove a lock that the next run would take over anyway."""
        self.target.run(f"if {self._abandoned()}; then rm -rf {quote(self.home)}/lock; fi")

    def release(self) -> None:
        """Let go of the lock if it is ours."""
        lock, home = quote(f"{self.home}/lock"), quote(self.home)
        ours = f'[ "$(cat {lock}/owner 2>/dev/null)" = {quote(self.owner)} ]'
        self.target.run(f"if {ours}; then rm -rf {lock}; fi; rmdir {home}/fuses {home} 2>/dev/null; true")

    def _abandoned(self) -> str:
        """Return the sh condition that a lock's lease ran out and no fuse stands on the host."""
        lock, fuses = quote(f"{self.home}/lock"), quote(f"{self.home}/fuses")
        stale = f'[ -e {lock}/until ] && read -r until <{lock}/until && {NOW} && [ "$now" -ge "$until" ]'
        return f'{stale} && [ -z "$(ls -A {fuses} 2>/dev/null)" ]'

    def _until(self, lock: str) -> str:
        return f"{NOW}; echo $((now + {round(self.lease * 100)})) >{lock}/until"
