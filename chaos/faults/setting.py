"""setting: one value of a running service, behind its HTTP endpoint, is changed, and put back.

The request is made on the host itself, so an endpoint that listens on loopback is enough. The value is read from the
JSON that GET gives, before and after, by controller and fuse alike: a service that takes the request and keeps its old
value has no fault, and one that was restarted meanwhile, and has its old value again, is clean.

What is changed this way must be gone with the service's process or be put back by the same request: no undo runs at
boot. Nothing marks it, so where ledger and fuse are both lost, `gameday heal` can't find it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from shlex import join
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from chaos.contracts import Action, Dose, Fault, Need, Reading, Shell
from chaos.faults import _reading

_PROGRAM = files("chaos.faults").joinpath("_payloads/setting.py").read_text(encoding="utf-8")


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError(f"{value!r} is no URL; write it like http://127.0.0.1:8001/admin/settings")
    if parts.username is not None:
        raise ValueError("holds credentials, which would be recorded; leave them out")
    return value


Url = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_url)]
Key = Annotated[str, StringConstraints(pattern=r"^[^\s.-][^\x00-\x1f]*$", max_length=1000)]
Word = Annotated[str, StringConstraints(max_length=1000)]


class Setting(Fault[str]):
    """Change a value of a running service behind its HTTP endpoint: a batch size, a token bucket, streams."""

    kind: ClassVar[str] = "setting"
    example: ClassVar[str] = (
        "{kind: setting, on: {group: workers}, for: 20s, "
        "url: 'http://127.0.0.1:8000/admin/settings', key: max_batch, reads: max_batch.value, value: 1}"
    )
    release: ClassVar[str] = "what the service does when the value is changed back: queues drain at their own pace"
    shade: ClassVar[str] = "#3f7d8c"
    needs: ClassVar[tuple[Need, ...]] = (Need("python3", "command -v python3", "python3-minimal"),)

    url: Url = Field(description="the endpoint, as the host reaches it; GET gives JSON")
    key: Key = Field(description="the name that the value has in what is sent; `a.b` for {a: {b: VALUE}}")
    value: bool | int | float | Word = Field(description="the value under the fault")
    reads: Key | None = Field(None, description="where GET shows the value, where that is not under `key`")
    method: Literal["PATCH", "PUT", "POST"] = Field(
        "PATCH", description="how it is sent: PATCH and POST send it alone, PUT sends the whole document"
    )

    def reading(self) -> Reading[str]:
        """Ask the endpoint for the value, as JSON."""
        return Reading((_reading.question(self._ask()),), _reading.answer)

    def objection(self, before: str) -> str | None:
        """Object to a value that is so already."""
        if before == self._wanted:
            return f"{self.reads or self.key} is {before} already"
        return f"its value has {len(before)} characters" if len(before) > _reading.MOST else None

    def apply(self, before: str) -> list[Action]:
        """Send the value."""
        del before
        return [Shell(self._ask(self._wanted))]

    def revert(self, before: str) -> list[Action]:
        """Send the value that it had, unless it has it."""
        there = _reading.reads(self._ask(), before)
        return [Shell(f"{there} || {self._ask(before)}", until=there)]

    def typical(self) -> str:
        """Some value."""
        return "32"

    def is_applied(self, before: str, now: str) -> bool:
        """The endpoint shows the value."""
        del before
        return now == self._wanted

    def is_reverted(self, before: str, now: str) -> bool:
        """The endpoint shows what it showed before."""
        return now == before

    def asked(self) -> dict[str, float]:
        """The value, where it is a number."""
        return _figure(self._wanted)

    def dose(self, before: str, now: str) -> Dose:
        """Read the value once more at the end of the fault."""
        on = self.is_applied(before, now)
        return Dose(_figure(now), on, "" if on else f"{self.key} was {now} at the end of the fault")

    @property
    def _wanted(self) -> str:
        return json.dumps(self.value)

    def _ask(self, *value: str) -> str:
        return join(["python3", "-c", _PROGRAM, self.url, self.key, self.reads or self.key, self.method, *value])


def _figure(value: str) -> dict[str, float]:
    try:
        number: Any = json.loads(value)
    except ValueError:
        return {}
    return {"value": float(number)} if isinstance(number, int | float) else {}
