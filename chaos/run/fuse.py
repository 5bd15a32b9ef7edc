"""The controller's side of a fuse: place it, see it armed, renew its lease, fire or disarm it, read its state.

A fuse is a directory and a program (fuse.sh) on the host. Everything the program needs stands in the directory before
it starts, so from the moment it says `armed` no death of ours can keep the fault on the host.

What outlives a reboot (`persists`) also gets an undo that runs at boot: it lies in PERSISTENT/NAME, a fuse's directory
like the other, with a state of its own. What starts it is /etc/systemd/system/gameday-undo-*.service (and its link in
sysinit.target.wants) or /etc/cron.d/gameday-undo-*; once the host reads clean it is gone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files
from shlex import quote

from chaos.contracts import Completed, Output, Rendered, Target
from chaos.errors import FuseNotArmed

HOME = "/run/gameday"
PERSISTENT = "/var/lib/gameday"
"""Where the undo lies that runs at boot, a folder each; it survives a reboot."""
_PROGRAM, _BOOT, _OWN_HOME = (
    files("chaos.run").joinpath(name).read_text(encoding="utf-8") for name in ("fuse.sh", "fuse_boot.sh", "home.sh")
)
OWN_HOME = re.sub(r"^ *#.*\n", "", _OWN_HOME, flags=re.MULTILINE)
"""Sh that defines `own_home` and `enter_home` of $home, without what only we read."""
STAGED, SLEEPER, OFF = "staged", "sleeper", "off"
"""In a fuse's directory: the number of a staged act's shell (`chaos.run.staging`), and of the sleep that it waits for;
`off` where it is called off."""

# sets `now` to centiseconds of /proc/uptime, as fuse.sh does
NOW = '{ read -r up _ </proc/uptime; now=${up%.*}${up#*.}; now=${now#"${now%%[!0]*}"}; now=${now:-0}; }'

# in a fuse's directory: whether the process whose number is in a file runs and stands there, as fuse.sh does
_STANDS = 'stands() { { read -r number <"$1"; } 2>/dev/null && [ "/proc/$number/cwd" -ef . ]; }'
_TENTH = "sleep 0.1 2>/dev/null || sleep 1"  # a sleep without fractions naps a second
_WAKE = 'wake() { ! stands pid || kill -USR1 "$number"; } 2>/dev/null'
_LOOK = 0.2  # s between two looks at a fuse that was fired
_TENTHS = " ".join(map(str, range(30)))

# systemd starts it again when it is killed, shields it from the OOM killer and from hunger, and stops it by SIGTERM. It
# ends no process but the fuse: what an undo started again is to stay. A fuse that was taken away is not started again.
_UNIT = (
    "systemd-run --quiet --collect --slice=gameday --unit={unit} --description={what}"
    " -p WorkingDirectory={folder} -p UMask=0077 -p KillMode=process -p TimeoutStopSec=300"
    " -p ConditionPathExists={folder}/undo -p Restart=on-failure -p RestartSec=200ms -p StartLimitIntervalSec=0"
    " -p OOMScoreAdjust=-1000 -p CPUWeight=10000 -p MemoryMin=16M"
    " sh {folder}/fuse.sh {folder} unit"
)
_HAS_SYSTEMD = '[ -d /run/systemd/system ] && command -v systemd-run >/dev/null && [ "$(id -u)" = 0 ]'
_PAIR = "command -v setsid >/dev/null && s=setsid || s=nohup; $s sh ./fuse.sh . fuse </dev/null >/dev/null 2>&1 &"


@dataclass(frozen=True)
class Undo:
    """What a fuse runs, and the condition that tells that it worked; both sh."""

    do: str
    clean: str
    secrets: tuple[str, ...] = field(default=(), compare=False)
    """Environment variables of this process that both need; the fuse keeps them, and nothing else does."""

    @classmethod
    def of(cls, actions: Iterable[Rendered]) -> Undo:
        """Join rendered actions: each is tried, whatever becomes of the one before; clean is when every one is."""
        rendered = list(actions)
        do = "\n".join(f"(\n{action.do}\n)" for action in rendered)
        clean = " &&\n".join(f"(\n{action.until}\n)" for action in rendered)
        secrets = tuple(dict.fromkeys(name for action in rendered for name in action.secrets))
        return cls(do + "\n", clean + "\n", secrets)


@dataclass(frozen=True)
class Fuse:
    """One fuse on one host. `lease` and `ttl` in s; `persists` where what it undoes outlives a reboot."""

    target: Target
    name: str
    undo: Undo
    lease: float
    ttl: float
    home: str = HOME
    persists: bool = False

    @property
    def folder(self) -> str:
        """The fuse's directory on the host."""
        return f"{self.home}/fuses/{self.name}"

    def arm(self) -> None:
        """Place the fuse, start it, and return once it says that it is armed and nothing can end it unseen."""
        parts = {"fuse.sh": _PROGRAM, "undo": self.undo.do, "clean": self.undo.clean}
        writes = [f"printf %s {quote(text)} >{name}" for name, text in parts.items()]
        writes += [f'printf %s "${name}" >secret.{name}' for name in self.undo.secrets]
        span = round(self.lease * 100)
        deadlines = (
            f"{NOW}; echo {span} >span; echo $((now + {span})) >lease; echo $((now + {round(self.ttl * 100)})) >ttl;"
            " read -r boot </proc/sys/kernel/random/boot_id; echo $boot >boot"
        )
        folder = quote(self.folder)
        unit = _UNIT.format(unit=unit_of(self.name), what=quote(f"undoes {self.name}"), folder=folder)
        started = f"if ! {{ {_HAS_SYSTEMD} && {unit} >unit 2>&1; }}; then rm -f unit; {_PAIR}\nfi"
        # a run that has the lock already must not arm anything after `gameday panic` has said that all is off
        refused = f"if [ -e {quote(self.home)}/panic ]; then echo 'locked out by panic'; exit; fi"
        seen = f"for i in {_TENTHS}; do [ ! -e state ] || break; {_TENTH}; done; cat state"
        home = f"home={quote(self.home)}\n{OWN_HOME}"
        into = f"enter_home 2>&1 && mkdir -p {folder} && cd {folder} || exit 0"
        script = "\n".join([refused, home, into, *writes, deadlines, self._at_boot(), started, seen])
        said = self.target.run(script).stdout.strip()
        if said != "armed":
            raise FuseNotArmed(f"{self.target.name}: the fuse {self.name} says {said!r} where 'armed' was expected")

    @property
    def renewal(self) -> str:
        """Sh that moves the lease's deadline to one lease from now and prints its state.

        It fails where no fuse is, and where nothing is left of one that says `armed`: with program and partner killed
        at the same instant nobody would undo the fault but who renews this.
        """
        renew = f"echo $((now + {round(self.lease * 100)})) >lease"  # no mv(1): a heartbeat is to cost no process
        lives = f'{_STANDS}; [ "$state" != armed ] || stands pid || stands guardian || [ -e unit ]'
        return (
            f'(cd {quote(self.folder)} && {NOW} && {renew} && read -r state <state && {{ {lives}; }} && echo "$state")'
        )

    @property
    def says(self) -> Output:
        """What the fuse says of itself, or what its undo at boot says; empty where both are gone."""
        return Output(f"{{ cat {quote(self.folder)}/state || cat {self._persistent}/state || true; }} 2>/dev/null")

    @property
    def gate(self) -> str:
        """Sh that exits unless the fuse is armed, to stand before what it is to undo.

        A command that was on its way when the network went may come to a host minutes later (TCP sends it again and
        again): by then the fuse has undone the fault and is gone, and nobody would take it away a second time.
        """
        armed = f'cd {quote(self.folder)} && read -r state <state && [ "$state" = armed ]'
        return f"({armed}) 2>/dev/null || {{ echo 'its fuse is not armed' >&2; exit 97; }}\n"

    def state(self) -> str:
        """Return what the fuse says; see `says`."""
        return self.target.run(self.says.script, timeout=10).stdout.strip()

    def reads_clean(self) -> bool:
        """Ask the host itself, by the condition that the fuse would use."""
        return self.target.run(f"({self.undo.clean})", check=False).status == 0

    def fire(self, patience: float) -> str:
        """Have the fuse undo the fault; return its state once it is clean or dead, or after `patience` s."""
        self._here("touch fire")
        end = time.monotonic() + patience
        while not (state := self._nudged()).startswith("clean") and time.monotonic() < end and self.is_alive():
            time.sleep(_LOOK)
        return state

    def is_alive(self) -> bool:
        """Whether the fuse's program runs, or will within a second: its partner, or systemd, starts it again."""
        return (
            self._here(f"{_STANDS}; stands pid || stands guardian || {{ [ -e unit ] && [ ! -e over ]; }}").status == 0
        )

    def call_off(self) -> None:
        """End an act that is staged there, or wait until it is over; harmless where none is. Raises TargetError."""
        gone = f"stands {STAGED} || exit 0; ! stands {SLEEPER} || kill $number; {_TENTH}"
        left = f"echo {quote(f'what {self.name} staged does not end')} >&2; exit 1"
        self._here(f"{_STANDS}; : >{OFF}; for i in {_TENTHS}; do {gone}; done; {left}", check=True)

    def disarm(self) -> str:
        """End the fuse and remove its directory, once the host was read clean; return what it had said until then."""
        folder = quote(self.folder)
        gone = f"stands pid || stands guardian || break; wake; {_TENTH}"
        asked = f"cd {folder} 2>/dev/null || exit 0; {_STANDS}; {_WAKE}; umask 077; touch disarm"
        ended = f"{asked}; for i in {_TENTHS}; do {gone}; done"
        # it may be dead at this moment, and systemd about to start it again
        stopped = f"[ ! -e unit ] || systemctl stop {unit_of(self.name)} 2>/dev/null"
        removed = f"cd / && rm -rf {folder}; rmdir {quote(self.home)}/fuses 2>/dev/null; true"
        script = f"{self.says.script}\n({ended}; {stopped}; {removed}) >/dev/null\n{self._not_at_boot()}"
        return self.target.run(script).stdout.strip()

    @property
    def _persistent(self) -> str:
        return quote(f"{PERSISTENT}/{self.name}")

    def _at_boot(self) -> str:
        """Sh that, in the fuse's directory, has the undo run at boot too; it says why and ends where that can't be."""
        if not self.persists:
            return ""
        return f"sh -c {quote(_BOOT)} boot.sh {self._persistent} {undo_unit_of(self.name)} || exit 0"

    def _not_at_boot(self) -> str:
        """Sh that takes away what `_at_boot` made, by whomever."""
        hooks = 'while read -r hook; do rm -f "$hook"; done <hooks; ! command -v systemctl || systemctl daemon-reload'
        gone = f"cd / && rm -rf {self._persistent}; rmdir {PERSISTENT}; true"
        return f"cd {self._persistent} 2>/dev/null || exit 0; {{ {hooks}; {gone}; }} >/dev/null 2>&1"

    def _nudged(self) -> str:
        """Wake the fuse, give it a moment if it lives, and return its state."""
        lives = "stands pid || stands guardian"
        looks = f"read -r state <state; case $state in clean*) break;; esac; {lives} || break"
        moments = f"for i in {_TENTHS}; do {looks}; {_TENTH}; done"
        return self._here(f"{_STANDS}; {_WAKE}; wake; {moments}; cat state").stdout.strip()

    def _here(self, script: str, *, check: bool = False) -> Completed:
        return self.target.run(f"umask 077; cd {quote(self.folder)} && {{ {script}; }}", check=check)


def unit_of(name: str) -> str:
    """Return the name of a fuse's transient unit under systemd."""
    return "gameday-fuse-" + re.sub(r"[^A-Za-z0-9_.-]", "-", name)


def undo_unit_of(name: str) -> str:
    """Return the name of what starts a fuse's undo at boot; cron(8) takes letters, digits, `_` and `-` alone."""
    return "gameday-undo-" + re.sub(r"[^A-Za-z0-9_-]", "-", name)
