"""The typed registry of kinds: our own and outsiders' come in by the same door.

Every module in `chaos.faults` without a leading underscore is imported and its concrete `Fault` classes are added; then
each entry point of the group `gameday.faults` names one more class. So it is with the `LoadChange` classes of the same
room and group, and with the `Probe` classes of `probes.health` and the group `gameday.probes`. A module that fails to
import fails the load: no kind may be absent quietly.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

import chaos.faults
import probes.health
from chaos.contracts import Cause, Fault, LoadChange
from chaos.errors import DuplicateKind, UnknownKind
from probes.health import Probe

T = TypeVar("T")
GROUP = "gameday.faults"
PROBES = "gameday.probes"


class Registry(Generic[T]):
    """Kinds by name. Adding a kind twice names both owners; asking for one that is not there names the nearest."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._kinds: dict[str, tuple[type[T], str]] = {}

    def add(self, kind: str, cls: type[T], *, owner: str) -> None:
        """Add a kind. Raises DuplicateKind."""
        if kind in self._kinds:
            raise DuplicateKind(f"{self._what} {kind!r} is claimed by {self._kinds[kind][1]} and by {owner}")
        self._kinds[kind] = (cls, owner)

    def get(self, kind: str) -> type[T]:
        """Return the class of a kind. Raises UnknownKind."""
        if kind not in self._kinds:
            near = difflib.get_close_matches(kind, self._kinds, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownKind(f"{kind!r} is no {self._what}{hint} (there are: {', '.join(sorted(self._kinds))})")
        return self._kinds[kind][0]

    def beside(self, other: Registry[Any]) -> Registry[Any]:
        """Return a registry of the kinds of both. Raises DuplicateKind."""
        both: Registry[Any] = Registry(self._what)
        for kind, (cls, owner) in (*self._kinds.items(), *other._kinds.items()):
            both.add(kind, cls, owner=owner)
        return both

    def __iter__(self) -> Iterator[tuple[str, type[T]]]:
        return iter((kind, self._kinds[kind][0]) for kind in sorted(self._kinds))


FaultRegistry = Registry[Fault[Any]]
LoadChangeRegistry = Registry[LoadChange]
ProbeRegistry = Registry[Probe]


def faults() -> FaultRegistry:
    """Return every kind of fault there is. Raises DuplicateKind, and whatever a broken module raises."""
    registry = FaultRegistry("fault")
    _fill(registry, chaos.faults, Fault, GROUP)
    return registry


def load_changes() -> LoadChangeRegistry:
    """Return every kind of change of the load there is. Raises as `faults` does."""
    registry = LoadChangeRegistry("change of the load")
    _fill(registry, chaos.faults, LoadChange, GROUP)
    return registry


def causes() -> Registry[Cause]:
    """Return every kind that a step may name: faults, and changes of the load. Raises as `faults` does."""
    return faults().beside(load_changes())


def health_probes() -> ProbeRegistry:
    """Return every kind of health probe there is. Raises as `faults` does."""
    registry = ProbeRegistry("probe")
    _fill(registry, probes.health, Probe, PROBES)
    return registry


def _fill(registry: Registry[Any], room: ModuleType, base: type[Any], group: str) -> None:
    """Add what is of the base among what the modules of a room define, and what the entry points of a group name."""
    for module in pkgutil.iter_modules(room.__path__):
        if not module.name.startswith("_"):
            _add_module(registry, f"{room.__name__}.{module.name}", base)
    for point in entry_points(group=group):
        cls = point.load()
        if issubclass(cls, base):
            registry.add(cls.kind, cls, owner=f"{point.dist.name if point.dist else '?'} ({point.value})")


def _add_module(registry: Registry[Any], name: str, base: type[Any]) -> None:
    for cls in vars(importlib.import_module(name)).values():
        ours = inspect.isclass(cls) and issubclass(cls, base) and cls.__module__ == name
        if ours and not inspect.isabstract(cls):
            registry.add(cls.kind, cls, owner=name)
