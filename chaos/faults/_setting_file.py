"""A setting in a file of the host, which the service reads when it is told to reload, or when it starts.

Only the very text of the value is replaced, in the file as it is: inode, owner, mode, attributes and links stay (a
container that has the file mounted sees it too), and so does what somebody else writes elsewhere in it meanwhile.
Whoever changes the value itself under the fault keeps it: the undo replaces our value alone, leaves another as it is,
and is STUCK, for the host is not as it was. No copy of the file is made, which may hold secrets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from shlex import join

from chaos.contracts import Shell
from chaos.faults import _due, _reading, _setting
from chaos.faults._setting import Form, Seen

_PROGRAM = files("chaos.faults").joinpath("_payloads/setting_file.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class InFile(Form):
    """A file, how its value is found (`key` or `match`) and by what, the text of the value, and who is told how."""

    file: str
    how: str
    where: str
    value: str
    reload: str
    restart: str
    folder: str

    @property
    def wanted(self) -> str:
        """The text."""
        return self.value

    def look(self) -> str:
        """Ask for the text, and for the unit that is restarted."""
        return _setting.looks(self._program("look", self.value), self.folder, self.restart)

    def parse(self, printed: str) -> Seen:
        """The text as it stands in the file."""
        said, unit, asking = _setting.parsed(printed)
        value = json.loads(said["value"]) if "value" in said else None
        return Seen(value, json.loads(said.get("wrong", '""')), "due" in said, unit, asking)

    def objection(self, before: Seen) -> str | None:
        """Object to a file that is not to be changed, to what is so already, and to a unit that can't be restarted."""
        if before.due:
            return f"an undo of ours is due there already ({self.folder}); `gameday heal` does it"
        if before.wrong or before.value is None:
            return f"{self.file}: {before.wrong}"
        if before.value == self.value:
            return f"{self.where} is {before.value} already in {self.file}"
        return _setting.objection_to_restart(self.restart, before) if self.restart else None

    def apply(self, before: Seen) -> str:
        """Replace the text, and tell the service."""
        tell = _setting.order(self.restart, before) if self.restart else self._reload
        due = _due.laid(self.folder, self.revert(before))
        return f"{due}\n{self._program('swap', before.value or '', self.value)} || exit 1\n{tell}"

    def revert(self, before: Seen) -> Shell:
        """Put the text back, and tell the service where it was told."""
        swap = self._program("swap", self.value, before.value or "")
        tell = _setting.renewal(self.restart, self.folder) if self.restart else f"{self._reload} || exit 1"
        there = f"value {json.dumps(before.value)}"
        reads = _reading.reads(self._program("look", self.value), there)
        return Shell(_setting.told(self.folder, swap, tell), until=f"[ ! -e {self.folder} ] && {reads}")

    def is_on_its_way(self, before: Seen, now: Seen) -> bool:
        """The text is there, and the unit has begun another run or is about to."""
        there = now.value == self.value and now.due
        return there and (not self.restart or now.unit.moves or self.is_applied(before, now))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The text is there, and another run of the unit is active."""
        return now.value == self.value and (not self.restart or _setting.has_new_run(before, now))

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """The text is what it was, and the service was told so."""
        return now.value == before.value and not now.due and now.unit.is_active == before.unit.is_active

    @property
    def _reload(self) -> str:
        return f"{_reading.own_shell(self.reload)} </dev/null" if self.reload else "true"

    def _program(self, task: str, *values: str) -> str:
        return join(["python3", "-c", _PROGRAM, task, self.file, self.how, self.where, *values])
