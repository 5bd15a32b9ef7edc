"""A setting behind an HTTP endpoint of the service itself.

The request is made on the host, so an endpoint that listens on loopback is enough. The value is read from the JSON that
GET gives, before and after, by controller and fuse alike: a service that takes the request and keeps its old value has
no fault, and one that was restarted meanwhile, and has its old value again, is clean.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from shlex import join

from chaos.contracts import Shell
from chaos.faults import _reading
from chaos.faults._setting import Form, Seen

_PROGRAM = files("chaos.faults").joinpath("_payloads/setting.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Endpoint(Form):
    """A URL, the name under which a value is sent, where GET shows it, and how it is sent; the value as JSON."""

    url: str
    key: str
    reads: str
    method: str
    value: str

    @property
    def wanted(self) -> str:
        """The value, as JSON."""
        return self.value

    def look(self) -> str:
        """Ask the endpoint for the value, as JSON."""
        return self._ask()

    def parse(self, printed: str) -> Seen:
        """The value."""
        return Seen(_reading.answer(printed))

    def objection(self, before: Seen) -> str | None:
        """Object to a value that is so already."""
        return f"{self.reads} is {before.value} already" if before.value == self.value else None

    def apply(self, before: Seen) -> str:
        """Send the value."""
        del before
        return self._ask(self.value)

    def revert(self, before: Seen) -> Shell:
        """Send the value that it had, unless it has it."""
        there = _reading.reads(self._ask(), before.value or "")
        return Shell(f"{there} || {self._ask(before.value or '')}", until=there)

    def is_on_its_way(self, before: Seen, now: Seen) -> bool:
        """The endpoint shows the value."""
        return self.is_applied(before, now)

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The endpoint shows the value."""
        del before
        return now.value == self.value

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """The endpoint shows what it showed before."""
        return now.value == before.value

    def _ask(self, *value: str) -> str:
        return join(["python3", "-c", _PROGRAM, self.url, self.key, self.reads, self.method, *value])
