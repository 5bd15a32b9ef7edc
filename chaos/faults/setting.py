"""setting: one value of a running service is changed, and put back: behind HTTP, in a file, or in its environment.

Three forms, told apart by what is named: `url` (`_setting_http`); `file` (`_setting_file`), with what tells it to the
service, `reload` or `restart`, or neither where it watches its file; `environment` (`_setting_environment`), of the
unit named by `restart`. Each page says what it touches.

The value is read again where it counts, before and after, by controller and fuse alike. What is changed in a file
outlives a reboot, and so does its undo. What is changed behind HTTP must be gone with the service's process or be put
back by the same request, and bears no mark: where ledger and fuse are both lost, `gameday heal` can't find that.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from chaos.contracts import Action, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _disk, _due, _payload, _reading, _setting, _unit
from chaos.faults._setting import Seen
from chaos.faults._setting_environment import InEnvironment
from chaos.faults._setting_file import InFile
from chaos.faults._setting_http import Endpoint

# what each form takes beside `value`: all of the first, some of the second
_FORMS = {
    "url": ({"key"}, {"reads", "method"}),
    "file": (set(), {"key", "match", "reload", "restart"}),
    "environment": ({"restart"}, set()),
}
_VOLATILE = ("/run/", "/var/run/", "/dev/", "/tmp/")


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no URL; write it like http://127.0.0.1:8001/admin/settings")
    if parts.username is not None:
        raise ValueError("holds credentials, which would be recorded; leave them out")
    return value


def _one_group(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"{value!r} has {groups} groups; the value is what one group holds, (?:...) is none")
    return value


Url = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_url)]
Key = Annotated[str, StringConstraints(pattern=r"^[^\s.-][^\x00-\x1f]*$", max_length=1000)]
Word = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]
OneGroup = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$"), AfterValidator(_one_group)]


class Setting(Fault[Seen]):
    """Change a value of a running service, behind its HTTP endpoint, in a file, or in its unit's environment."""

    kind: ClassVar[str] = "setting"
    example: ClassVar[str] = (
        "{kind: setting, on: {group: workers}, for: 20s, "
        "url: 'http://127.0.0.1:8000/admin/settings', key: max_batch, reads: max_batch.value, value: 1}"
    )
    release: ClassVar[str] = (
        "what the service does when the value is changed back: queues drain at their own pace; a restart is a start-up"
    )
    shade: ClassVar[str] = "#3f7d8c"
    needs: ClassVar[tuple[Need, ...]] = (_payload.PYTHON,)
    settle: ClassVar[float] = 180.0

    value: bool | int | float | Word = Field(description="the value under the fault")
    url: Url | None = Field(None, description="the endpoint, as the host reaches it; GET gives JSON")
    key: Key | None = Field(
        None, description="the name that the value has in what is sent, or in a JSON file; `a.b` for {a: {b: VALUE}}"
    )
    reads: Key | None = Field(None, description="where GET shows the value, where that is not under `key`")
    method: Literal["PATCH", "PUT", "POST"] = Field(
        "PATCH", description="how it is sent: PATCH and POST send it alone, PUT sends the whole document"
    )
    file: _disk.Path | None = Field(None, description="the file that holds the value")
    match: OneGroup | None = Field(
        None, description="regular expression that matches once in the file; its one group is the value"
    )
    reload: _reading.Script | None = Field(None, description="sh by which the service reads its file again")
    restart: _unit.Name | None = Field(None, description="the service of systemd that is restarted to take the value")
    environment: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,200}$")] | None = Field(
        None, description="the variable of that service's environment which is the value"
    )

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        given = {name for name in type(self).model_fields if name in self.model_fields_set} - {"value"}
        forms = [name for name in _FORMS if name in given]
        if len(forms) != 1:
            raise ValueError("give one of `url`, `file` and `environment`: it is where the value stands")
        must, may = _FORMS[forms[0]]
        if missing := must - given:
            raise ValueError(f"{forms[0]}: goes with `{missing.pop()}`")
        if strange := sorted(given - must - may - set(forms)):
            raise ValueError(f"{strange[0]}: does not go with `{forms[0]}`")
        if self.file and ("key" in given) == ("match" in given):
            raise ValueError("file: goes with `key` (it is JSON) or with `match`")
        if self.reload and self.restart:
            raise ValueError("reload: is no use beside `restart`")
        if self.environment and not self._plain.isprintable():
            raise ValueError("value: holds what is not printable")
        return self

    def reading(self) -> Reading[Seen]:
        """Ask for the value where it counts."""
        return Reading((Output(self._form.look()),), self._form.parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a value that is so already, and to what could not be put back."""
        if before.value and len(before.value) > _reading.MOST:
            return f"its value has {len(before.value)} characters"
        return self._form.objection(before)

    def apply(self, before: Seen) -> list[Action]:
        """Set the value."""
        return [Shell(self._form.apply(before))]

    def revert(self, before: Seen) -> list[Action]:
        """Set the value that it had, unless it has it."""
        return [self._form.revert(before)]

    def typical(self) -> Seen:
        """Some value, of a service that runs."""
        shown = {"Id": self.restart or "", "LoadState": "loaded", "ActiveState": "active", "InvocationID": "0" * 32}
        return Seen("32", unit=_unit.Unit(shown if self.restart else {}))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """It shows the value, be the service still about to take it."""
        return self._form.is_on_its_way(before, now)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """It shows what it showed before."""
        return self._form.is_reverted(before, now)

    def asked(self) -> dict[str, float]:
        """The value, where it is a number."""
        return _figure(self._form.wanted)

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Read the value once more at the end of the fault."""
        on = self._form.is_applied(before, now)
        name = self.key or self.environment or self.match
        why = f"{name} was {now.value} at the end of the fault"
        if not on and now.value == self._form.wanted:
            why = f"{self.restart} was {now.unit['ActiveState']} at the end of the fault, in the run of before or none"
        return Dose(_figure(now.value or ""), on, "" if on else why)

    @property
    def persists(self) -> bool:
        """What is in a file that outlives a reboot does."""
        return self.file is not None and not self.file.startswith(_VOLATILE)

    @property
    def _plain(self) -> str:
        return self.value if isinstance(self.value, str) else json.dumps(self.value)

    @property
    def _form(self) -> _setting.Form:
        as_json, restart = json.dumps(self.value), self.restart or ""
        if self.url:
            key = self.key or ""
            return Endpoint(self.url, key, self.reads or key, self.method, as_json)
        if self.file:
            how, where, value = ("key", self.key, as_json) if self.key else ("match", self.match, self._plain)
            return InFile(self.file, how, where or "", value, self.reload or "", restart, self._folder)
        return InEnvironment(self.environment or "", self._plain, restart, self._folder)

    @property
    def _folder(self) -> str:
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        home = _due.PERSISTENT if self.persists else _due.HOME
        return f"{home}/setting-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _figure(value: str) -> dict[str, float]:
    try:
        number: Any = json.loads(value)
    except ValueError:
        return {}
    return {"value": float(number)} if isinstance(number, int | float) else {}
