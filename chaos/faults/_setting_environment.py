"""A setting in the environment of a service of systemd, which is restarted with it.

The variable comes from an environment file of ours, named by a drop-in in /run/systemd/system that sorts last, so it
wins over the unit's own `Environment=` and `EnvironmentFile=` (systemd.exec(5)) and is gone with a reboot. It is read
from the environment of the main process (proc(5)), where it must arrive to count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote

from chaos.contracts import Shell
from chaos.faults import _due, _setting
from chaos.faults._setting import Form, Seen

_LOOK = """pid=$(systemctl show --value -p MainPID {unit})
[ "$pid" = 0 ] || tr '\\0\\n' '\\n ' <"/proc/$pid/environ" | sed -n 's/^{name}=/value /p' | tail -n 1
[ "$pid" != 0 ] || echo wrong it has no main process
[ ! -e {drop_in} ] || echo drop-in"""
_MAKE = """(umask 077; printf '%s\\n' {line} >{folder}/environment) || exit 1
mkdir -p {drop_ins} && printf '[Service]\\nEnvironmentFile=-%s/environment\\n' {folder} >{drop_in} || exit 1
systemctl daemon-reload || exit 1
{order}"""
_REMOVE = """[ ! -e {drop_in} ] || {{ rm -f {drop_in} && systemctl daemon-reload; }} || return 1
rmdir {drop_ins} 2>/dev/null; true"""


@dataclass(frozen=True)
class InEnvironment(Form):
    """A variable of a unit, and its value."""

    name: str
    value: str
    unit: str
    folder: str

    @property
    def wanted(self) -> str:
        """The value."""
        return self.value

    def look(self) -> str:
        """Ask for the variable of the main process, for our drop-in, and for the unit."""
        first = _LOOK.format(unit=quote(self.unit), name=self.name, drop_in=self._drop_in)
        return _setting.looks(first, self.folder, self.unit)

    def parse(self, printed: str) -> Seen:
        """The variable."""
        said, unit, asking = _setting.parsed(printed)
        due = "due" in said or "drop-in" in said
        return Seen(said.get("value"), said.get("wrong", ""), due, unit, asking)

    def objection(self, before: Seen) -> str | None:
        """Object to what is so already, and to a unit that can't be restarted."""
        if before.due:
            return f"a drop-in of ours is there already ({self._drop_in}); `gameday heal` takes it away"
        if why := _setting.objection_to_restart(self.unit, before):
            return why
        if before.wrong:
            return f"{self.unit}: {before.wrong}"
        return f"{self.name} is {before.value} already" if before.value == self.value else None

    def apply(self, before: Seen) -> str:
        """Place the drop-in and restart the unit."""
        escaped = re.sub(r'(["\\`$])', r"\\\1", self.value)
        made = _MAKE.format(
            line=quote(f'{self.name}="{escaped}"'), folder=self.folder, drop_ins=self._drop_ins,
            drop_in=self._drop_in, order=_setting.order(self.unit, before),
        )  # fmt: skip
        return f"{_due.laid(self.folder, self.revert(before))}\n{made}"

    def revert(self, before: Seen) -> Shell:
        """Take the drop-in away and restart the unit, where it was restarted with it."""
        del before
        removed = _REMOVE.format(drop_in=self._drop_in, drop_ins=self._drop_ins)
        gone = f"[ ! -e {self._drop_in} ] && [ ! -e {self.folder} ]"
        script = _setting.told(self.folder, removed, _setting.renewal(self.unit, self.folder))
        return Shell(script, until=f"{gone} && systemctl is-active --quiet {quote(self.unit)}")

    def is_on_its_way(self, before: Seen, now: Seen) -> bool:
        """The drop-in is there, and the unit has begun another run or is about to."""
        # a process has its environment once it has become its program, a moment after systemd calls the unit active
        return now.due and (now.unit.moves or _setting.has_new_run(before, now))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Another run of the unit has the variable."""
        return now.value == self.value and _setting.has_new_run(before, now)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """The variable is what it was, and nothing of ours is there."""
        return not now.due and now.value == before.value and now.unit.is_active and not now.unit.moves

    @property
    def _drop_ins(self) -> str:
        return quote(f"/run/systemd/system/{self.unit}.d")

    @property
    def _drop_in(self) -> str:
        return quote(f"/run/systemd/system/{self.unit}.d/zz-{self.folder.rpartition('/')[2]}.conf")
