"""One controller a host: a file on the host that says who holds it, for which run, and until when (lock.sh).

It lasts one lease and is renewed as a fuse is. One that ran out, or whose owner is a dead process of this machine, is
taken over, but only once every fuse on the host has let go: one that has not is still undoing a fault. The owner's name
says machine and process, so that this machine can tell that its owner is dead.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import quote

from chaos.contracts import Need, Target
from chaos.errors import Locked, LockedOut
from chaos.run.fuse import HOME, OWN_HOME

NEEDS_FLOCK = Need("flock", "command -v flock", "util-linux")
_TEXT = files("chaos.run").joinpath("lock.sh").read_text(encoding="utf-8")
# each heartbeat sends it: without what only we read
_PROGRAM = OWN_HOME + re.sub(r"^ *#.*\n", "", _TEXT, flags=re.MULTILINE)
_FIRST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in linux/proc_ns.h
_NOBODY = "somebody who did not say who"
_NO_OWNER = "/"  # a name that no owner has
CALM = "calm"


def this_process() -> str:
    """Return the owner's name of this process; where process ids are a container's own, it names their namespace."""
    user = os.environ.get("USER") or f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()} pid {os.getpid()}{_namespace()}"


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be gone: a process of this machine that is no more. Elsewhere nobody can tell."""
    named = re.fullmatch(rf".*@{re.escape(socket.gethostname())} pid (\d+){re.escape(_namespace())}", owner)
    return named is not None and not Path(f"/proc/{named[1]}").exists()


def _namespace() -> str:
    namespace = str(Path("/proc/self/ns/pid").readlink())
    return "" if namespace == _FIRST_NAMESPACE else f" in {namespace}"


@dataclass(frozen=True)
class Held:
    """Who holds a host: `age` s ago it was taken, `left` s its lease lasts; `busy` are fuses that have not let go."""

    owner: str
    run: str
    age: float
    left: float
    busy: tuple[str, ...]

    @classmethod
    def read(cls, said: str) -> Held | None:
        """Read what `say` of lock.sh printed; None where it had nothing to say."""
        if not said:
            return None
        owner, run, age, left, busy = said.split("\n")[:5]
        return cls(owner, run, int(age) / 100, int(left) / 100, tuple(busy.split()))

    def __str__(self) -> str:
        who = f"{self.owner}, run {self.run}, since {self.age:.0f} s" if self.owner else _NOBODY
        if self.left > 0:
            return f"{who}; its lease lasts another {self.left:.0f} s"
        return f"{who}; not let go yet: {', '.join(self.busy)}" if self.busy else who


@dataclass(frozen=True)
class HostLock:
    """The lock of one host, for one run; `lease` in s."""

    target: Target
    owner: str
    run: str
    lease: float
    home: str = HOME

    def take(self) -> None:
        """Take the lock. Raises Locked, naming the holder, and LockedOut after a panic."""
        said = self._do("take")
        if said.startswith("panic\n"):
            raise LockedOut(f"{self.target.name}: {locked_out(said.partition(chr(10))[2])}")
        held = Held.read(said)
        if held is not None and is_dead(held.owner) and not held.busy:
            held = Held.read(self._do("take", dead=held.owner))
        if held is not None:
            raise Locked(
                f"{self.target.name}: another run holds this host ({held}); wait for it, or, if it is dead, "
                f"`gameday heal` finishes what it left"
            )

    def held(self) -> Held | None:
        """Return who holds the host; None when nobody does, or when the lock would be taken over. Only looks."""
        held = Held.read(self._do("holder"))
        return None if held is not None and is_dead(held.owner) and not held.busy else held

    def lockout(self) -> str:
        """Return why no run may begin here: what `gameday panic` left; empty where it left nothing. Only looks."""
        called = self._do("lockout").strip()
        return locked_out(called) if called else ""

    def release(self) -> None:
        """Let go of the lock if it is ours."""
        self._do("release")

    def drop_abandoned(self) -> None:
        """Remove a lock that the next run would take over anyway, or that says no owner: no run has written that."""
        held = Held.read(self._do("holder"))
        gone = held is not None and (not held.owner or is_dead(held.owner))
        self._do("drop", dead=held.owner if held is not None and gone else _NO_OWNER)

    @property
    def renewal(self) -> str:
        """Sh that moves the lock's deadline to one lease from now if it is ours.

        It prints `held`; or who holds the host now; or `gone`; or, after a panic, `panic`.
        """
        return f"(\n{self._program('renew')}\n)"

    def _do(self, command: str, dead: str = _NO_OWNER) -> str:
        return self.target.run(self._program(command, dead)).stdout

    def _program(self, command: str, dead: str = _NO_OWNER) -> str:
        given = {"home": self.home, "me": _line(self.owner), "my_run": _line(self.run), "dead": dead}
        settings = " ".join(f"{name}={quote(value)}" for name, value in given.items())
        return f"{settings} span={round(self.lease * 100)}\n{_PROGRAM}{command}"


def calm(home: str) -> str:
    """Return sh that prints CALM unless `gameday panic` was called where it runs."""
    return f"[ -e {quote(home)}/panic ] && echo panic || echo {CALM}"


def locked_out(called: str) -> str:
    """Say who called a panic, and how it ends."""
    return f"`gameday panic` was called by {called.strip()}; `gameday panic --release` lets runs begin again"


def _line(text: str) -> str:
    return " ".join(text.split())
