"""Applying a fault at one moment on many hosts: each waits for it by its own clock, so no network lies in between.

A command that is sent "now" to two hundred hosts arrives over some tenths of a second. So each host is given the whole
command ahead of time; it does what is harmless, sleeps until the moment, looks once more that its fuse is armed, and
acts. An action that can be had in parts (`contracts.Staged`) leaves one line to be read for the moment itself. All that
can wait waits until half a second after it: hosts may share a machine, and what one has done must not keep another.

While it waits it can be called off (`Fuse.call_off`): it looks for that, as for its fuse, at the moment itself.

The host's clock is /proc/uptime, which no change of the wall clock moves. How it stands to ours is told by asking it a
few times: it was read at some point between sending the question and having the answer, and it counts in hundredths, so
each answer bounds the offset on both sides, and the answers together bound it best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote

from chaos.clock import NS, Clock
from chaos.contracts import Action, SwitchPower, Target
from chaos.errors import TargetError
from chaos.run.fuse import NOW, OFF, SLEEPER, STAGED, Fuse

_CENTISECOND = NS // 100
_ASKED = 3  # times
_SLACK = 15.0  # s beyond the moment, for what is done at it
_PUT_OFF = 50  # hundredths of a second
_CALLED_OFF = "called off before its moment"

# In the fuse's directory. No wait at all for a moment that has passed. The last stretch is measured anew, for much may
# have gone on while the first began. Who calls it off writes that down first and then ends the sleep that it finds; so
# one that began too late to be found sees it written.
_WAIT = """\
cd {folder} && echo $$ >{staged} || exit
sleep 0.01 2>/dev/null && fractions=1 || fractions=
begin() {{
    hundredths=$(($1 > 0 ? $1 % 100 : 0)); [ "$hundredths" -ge 10 ] || hundredths=0$hundredths
    if [ -n "$fractions" ]; then sleep "$(($1 > 0 ? $1 / 100 : 0)).$hundredths" & else sleep $((($1 + 99) / 100)) & fi
}}
nap() {{
    [ "$1" -gt 0 ] || return 0
    begin "$1"; echo $! >{sleeper}; [ ! -e {off} ] || kill $!; wait $!
}} 2>/dev/null
left() {{ {now}; left=$(({when} - now)); }}
at() {{ # fails, with the reason in why, where it must not act
    left; nap $((left - 50)); left; nap "$left"
    why='{called_off}'; [ ! -e {off} ] || return 1
    why='its fuse is not armed'; read -r state <state && [ "$state" = armed ]
}}"""


@dataclass(frozen=True)
class HostClock:
    """A host's uptime against our clock: `zero` is our time (ns) at its uptime 0, give or take `uncertainty` (ns)."""

    zero: int
    uncertainty: int

    @classmethod
    def of(cls, target: Target, clock: Clock) -> HostClock:
        """Ask a host a few times. Raises TargetError."""
        low, high = -(1 << 62), 1 << 62
        for _ in range(_ASKED):
            sent = clock.now()
            said = target.run(f"{NOW}; echo $now", timeout=5).stdout.strip()
            received = clock.now()
            if not said.isdigit():
                raise TargetError(f"{target.name}: its /proc/uptime can't be read: {said!r}")
            low = max(low, sent - (int(said) + 1) * _CENTISECOND)
            high = min(high, received - int(said) * _CENTISECOND)
        return cls((low + high) // 2, abs(high - low) // 2)

    def uptime(self, when: int) -> int:
        """Return the host's uptime at our time `when` (ns), in hundredths of a second."""
        return (when - self.zero) // _CENTISECOND

    def ours(self, uptime: int) -> int:
        """Return our time (ns) at the host's uptime, in hundredths of a second."""
        return self.zero + uptime * _CENTISECOND


@dataclass(frozen=True)
class Moment:
    """When to act: our time (ns), and the clock of the host that is to act then.

    `wait` waits for a time (ns) and returns False where the run was stopped before.
    """

    when: int
    clock: HostClock
    wait: Callable[[int], bool]


def stage(target: Target, actions: Sequence[Action], fuse: Fuse, moment: Moment, clock: Clock) -> int:
    """Have the host act at the moment; return when it had done it, as it says (ns of ours). Raises TargetError."""
    if fuse.target is not target or any(isinstance(action, SwitchPower) for action in actions):
        if not moment.wait(moment.when):  # what acts, or is undone, from here needs nobody's clock but ours
            raise TargetError(f"{target.name}: {_CALLED_OFF}")
        for action in actions:
            target.perform(action)
        return clock.now()
    patience = max(0, moment.when - clock.now()) / NS + _SLACK
    done = target.run(_script(target, actions, fuse, moment), timeout=patience)
    said = done.stdout.split()
    if not said or not said[-1].isdigit():
        raise TargetError(f"{target.name}: it did not say when it acted: {done.stderr.strip() or done.stdout!r}")
    return moment.clock.ours(int(said[-1]))


def _script(target: Target, actions: Sequence[Action], fuse: Fuse, moment: Moment) -> str:
    rendered = [target.render(action) for action in actions]
    staged = rendered[0].staged if len(rendered) == 1 else None
    wait = _WAIT.format(
        folder=quote(fuse.folder), staged=STAGED, sleeper=SLEEPER, off=OFF, called_off=_CALLED_OFF,
        now=NOW, when=moment.clock.uptime(moment.when),
    )  # fmt: skip
    if staged is None:
        acts = [f"(\n{action.do}\n) >&2 || exit" for action in rendered]
        return "\n".join([wait, 'at || { echo "$why" >&2; exit 97; }', *acts, f"{NOW}; echo $now"])
    first, line = (f"printf '%s\\n' {quote(text)}" for text in (staged.first, staged.line))
    # what would follow the act (the program's end, this shell's, an answer) is put off
    rest = f"left; begin $((left + {_PUT_OFF})); rest=$!"
    # who reads what it says may be gone, which would end it: so it says it last
    act = f'{rest}\nat || {{ kill $rest; echo "$why" >&2; exit; }}\n{line}; {NOW}; wait; echo $now >&3'
    return f"(\n{staged.ahead}\n) >&2 || exit\n{wait}\nexec 3>&1\n{{ {first}\n{act}; }} | {staged.program} >&2"
