"""Where a value stands in a file, and a mistake that points at it. The vocabulary of the reader and of the checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from chaos.errors import Place

_PLAIN = re.compile(r"[\w./-]+")

Path = tuple[str | int, ...]
"""The way from the top of a document to a value: ("faults", 0, "delay")."""


class Mistake(NamedTuple):
    """One thing that is wrong; as text it is the line people read."""

    place: Place
    path: Path
    text: str

    def __str__(self) -> str:
        line = ": ".join(filter(None, (str(self.place), show_path(self.path), self.text)))
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


@dataclass(frozen=True)
class Document:
    """A file as plain values, with a place for every key and every item of a list.

    A value's place is that of its key (`delay` in `delay: 50ms`), or of the item itself in a list. `mistakes` are those
    that the reader could step over (a key that stands twice): they are reported with all the others.
    """

    file: str
    value: Any
    places: Mapping[Path, Place]
    mistakes: tuple[Mistake, ...] = ()

    def place(self, path: Path) -> Place:
        """Return the place of a value; of the nearest one around it where it does not exist (a missing key)."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(self.file))


def show_path(path: Path) -> str:
    """Return a path as people write it: `faults[0].delay`; a key that is no plain word stands in quotes."""
    return "".join(map(_show_step, path)).removeprefix(".")


def _show_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"[{step!r}]"
