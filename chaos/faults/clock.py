"""clock: the wall clock of a host is stepped, runs fast or slow, or both (clock_settime(2), adjtimex(2)).

It is put back by CLOCK_MONOTONIC_RAW, which nothing sets: to what it would show had nothing happened, at the rate that
it had; so are the rate, and whether the kernel calls it synchronised. Programs that keep the clock (chronyd, ntpd,
systemd-timesyncd, ptp4l, phc2sys) are paused by SIGSTOP meanwhile, and let go once the clock is right; so none fights
it, and none is restarted. systemd restarts its own after three minutes of silence: then the dose says so.

Neither lease nor fuse goes by the wall clock; both follow the rate, at most 9 % off. After a reboot the time comes from
the hardware, which nobody sets here, and the undo, whose reference is gone, leaves it alone. Objected to: a container
or a namespace, whose clock is another machine's. A clock bears no mark: with its ledger and its fuse lost, nobody can
know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from shlex import quote
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _process
from chaos.kernel import Process
from chaos.units import Duration, Share

_PROGRAM = files("chaos.faults").joinpath("_clock.py").read_text(encoding="utf-8")
_RUN = f"python3 -I -S -c {quote(_PROGRAM)}"
_KEEPERS = r"^(\S*/)?(chronyd|ntpd|openntpd|systemd-timesyncd|ptp4l|phc2sys)( |$)"
_INITIAL = "pid:[4026531836]"  # of the kernel's first PID namespace (PROC_PID_INIT_INO)
_TICK, _PPM = 10_000, 65_536e6  # adjtimex(2): µs of a tick at 100 Hz; units of freq in 1
_NEAR = 0.01  # s, and of the rate 0.1 %: what one who keeps the clock may do to it at once
_STA_WRITABLE = 0x00FF  # the flags of adjtimex(2) that may be set


@dataclass(frozen=True)
class Clock:
    """A host's clock as it was read: `raw` and `wall` at one moment in s, `rate` measured, the rest as adjtimex(2)."""

    raw: float
    wall: float
    rate: float
    tick: int = _TICK
    freq: int = 0
    status: int = 0
    maxerror: int = 0
    esterror: int = 0
    boot: str = ""
    namespace: str = _INITIAL
    keepers: tuple[Process, ...] = ()

    @property
    def set_rate(self) -> float:
        """The rate that the kernel was told, by CLOCK_MONOTONIC_RAW."""
        return self.tick / _TICK + self.freq / _PPM

    def due(self, raw: float) -> float:
        """What the wall clock shows at a later moment if nothing happens, in s."""
        return self.wall + (raw - self.raw) * self.set_rate


class ClockFault(Fault[Clock]):
    """Step the wall clock of a host, or have it run fast or slow."""

    kind: ClassVar[str] = "clock"
    example: ClassVar[str] = "{kind: clock, on: worker-1, for: 20s, offset: 5m}"
    release: ClassVar[str] = "the wall clock jumps back to the right time: timers that were passed have fired already"
    shade: ClassVar[str] = "#3d6b8c"
    needs: ClassVar[tuple[Need, ...]] = (Need("python3", "command -v python3", "python3-minimal"),)

    offset: Duration = Field(0.0, description="how far the clock is stepped", ge=0, le=366 * 86400)
    drift: Share = Field(0.0, description="how much faster or slower it runs, up to 9 %", ge=0, le=0.09)
    direction: Literal["ahead", "behind"] = Field("ahead", description="which way")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.offset and not self.drift:
            raise ValueError("give `offset`, `drift` or both")
        return self

    def reading(self) -> Reading[Clock]:
        """Ask for the clock and for who keeps it; the control path is proved after applying."""
        return Reading((Output(_READ), ControlPath()), lambda said, _: _parse(said))

    def objection(self, before: Clock) -> str | None:
        """Object where the clock is not the host's own, or where who keeps it is stopped already."""
        if before.namespace != _INITIAL:
            return "this host is a container or a namespace, and its clock is the machine's"
        stopped = [str(p.pid) for p in before.keepers if p.state == "T"]
        if stopped:
            return f"already stopped, and not by this run: process {', '.join(stopped)}, which keeps the clock"
        if self.wanted_wall(before, before.raw) < 0:
            return f"the clock shows {before.wall:.0f} s after 1970, and can't be set to before it"
        return None

    def apply(self, before: Clock) -> list[Action]:
        """Pause who keeps the clock, then set it."""
        tick, freq = _told(before.set_rate + self._sign * self.drift)
        offset = repr(self._sign * self.offset) if self.offset else "keep"
        pause = f"{_process.signal(before.keepers, 'STOP')}\n" if before.keepers else ""
        return [Shell(f"{pause}{_RUN} set {_reference(before)} {offset} {tick} {freq}")]

    def revert(self, before: Clock) -> list[Action]:
        """Set it right, then let go who keeps it; after a reboot there is nothing to undo."""
        booted = f"read -r boot </proc/sys/kernel/random/boot_id; [ \"$boot\" = '{before.boot}' ] || exit 0\n"
        state = f"{before.status & _STA_WRITABLE} {before.maxerror} {before.esterror}"
        right = f"{_RUN} set {_reference(before)} 0 {before.tick} {before.freq} {state}"
        go = f" &&\n{{ {_process.signal(before.keepers, 'CONT')}\n}}" if before.keepers else ""
        still = [f'{{ look {p.pid}; [ "$started$state" = {p.started}T ]; }}' for p in before.keepers]
        go_on = f" && ! {{ {' || '.join(still)}; }}" if still else ""
        return [
            Shell(booted + right + go, until=f"{booted}{_process.LOOK}{_RUN} check {_reference(before)} {_NEAR}{go_on}")
        ]

    def typical(self) -> Clock:
        """A clock that is right, and that nobody keeps."""
        return Clock(1000.0, 1.8e9, 1.0)

    def is_applied(self, before: Clock, now: Clock) -> bool:
        """It is off as far as was asked, or runs as was asked, and nobody keeps it."""
        paused = all(p.state == "T" for p in now.keepers)
        return paused and self._is_off(before, now) and self._drifts(before, now)

    def is_reverted(self, before: Clock, now: Clock) -> bool:
        """It shows what it would have shown; who keeps it goes on, and may have begun to set its rate."""
        if now.boot != before.boot:
            return True
        near = 0.001 if before.keepers else 1e-9
        stopped = any(p.state == "T" for p in now.keepers)
        right = abs(now.wall - before.due(now.raw)) <= _NEAR
        return right and not stopped and abs(now.set_rate - before.set_rate) <= near

    def asked(self) -> dict[str, float]:
        """The step, in s, and the drift, each with its sign."""
        given = {"offset_s": self._sign * self.offset, "drift_ratio": self._sign * self.drift}
        return {name: value for name, value in given.items() if value}

    def dose(self, before: Clock, now: Clock) -> Dose:
        """Return how far it was off, and how fast it ran by CLOCK_MONOTONIC_RAW; a drift moves the first on."""
        off, drift = now.wall - before.due(now.raw), now.rate - before.set_rate
        achieved = {"offset_s": off} if self.offset else {}
        achieved |= {"drift_ratio": drift} if self.drift else {}
        if now.boot != before.boot:
            return Dose({}, False, "the host has booted since")
        confirmed = self.is_applied(before, now)
        return Dose(
            achieved, confirmed, "" if confirmed else f"it was off by {off:.3f} s and by {drift:.3%} of its rate"
        )

    def wanted_wall(self, before: Clock, raw: float) -> float:
        """What the clock is to show, in s, but for what it has drifted since it was set."""
        return before.due(raw) + self._sign * self.offset

    @property
    def _sign(self) -> int:
        return 1 if self.direction == "ahead" else -1

    def _is_off(self, before: Clock, now: Clock) -> bool:
        """A drift adds to the step, at most as much as since the host was first read."""
        beyond = (now.wall - self.wanted_wall(before, now.raw)) * self._sign
        return -_NEAR <= beyond <= _NEAR + self.drift * (now.raw - before.raw)

    def _drifts(self, before: Clock, now: Clock) -> bool:
        """Both as told and as measured, within a fiftieth, or what a tenth of a second can tell."""
        told = now.set_rate - before.set_rate - self._sign * self.drift
        ran = now.rate - before.set_rate - self._sign * self.drift
        return abs(told) <= 1e-6 and abs(ran) <= max(0.02 * self.drift, 0.001)


_READ = f"""{_RUN} look || exit 1
cat /proc/sys/kernel/random/boot_id
readlink /proc/self/ns/pid
{_process.LISTING.script}"""


def _parse(said: str) -> Clock:
    clock, boot, namespace, listing = said.split("\n", 3)
    raw, wall, rate, *kept = clock.split()
    tick, freq, status, maxerror, esterror = map(int, kept)
    keepers = _process.matching(_process.parse(listing), _KEEPERS)
    return Clock(
        float(raw), float(wall), float(rate), tick, freq, status, maxerror, esterror, boot, namespace, keepers
    )  # fmt: skip


def _reference(before: Clock) -> str:
    return f"{before.raw!r} {before.wall!r} {before.set_rate!r}"


def _told(rate: float) -> tuple[int, int]:
    """Return tick and freq for a rate; what is finer than a tick of 1 µs is the frequency's."""
    tick = round(rate * _TICK)
    return tick, round((rate - tick / _TICK) * _PPM)
