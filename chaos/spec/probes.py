"""The `probes` of an experiment: what is asked beside the load.

A probe's class (`probes.health`) knows nothing of YAML. What people write is read by a model derived from it: the same
class, but that its durations are written with units, and that `{name}` may stand for a host of the inventory where the
class marks a target. What is checked of a target with a name in it waits until the name has been filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, cast

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, create_model
from pydantic.fields import FieldInfo

from chaos.catalog import ProbeRegistry, health_probes
from chaos.errors import UnknownKind
from chaos.spec.fields import Spec
from chaos.spec.load import fill, placeholders
from chaos.spec.places import Path
from chaos.spec.sheet import Sheet, found
from chaos.units import Duration
from probes.health import Mark, Probe


@dataclass(frozen=True)
class GivenProbe:
    """A probe as it was written. `type` is its class, `values` its parameters in SI units, targets not filled in."""

    type: type[Probe]
    values: Probe

    @property
    def name(self) -> str:
        """What it is called; two probes never have the same."""
        return self.values.called

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield each key with a target in it, and each {name} in that."""
        for key in _targets(self.type):
            for name in placeholders(getattr(self.values, key)):
                yield key, name

    def filled(self, authority: Callable[[str], str]) -> Probe:
        """Return the probe with each {name} replaced by its authority. Raises ValidationError, and what that raises."""
        values = self.values.model_dump() | {"name": self.name}
        for key in _targets(self.type):
            values[key] = fill(values[key], {name: authority(name) for name in placeholders(values[key])})
        return self.type(**values)


def read_probes(sheet: Sheet, raw: Any, kinds: ProbeRegistry | None) -> tuple[GivenProbe, ...]:
    """Return the probes that have no mistake; `kinds` are those of the catalogue by default."""
    if not isinstance(raw, list):
        sheet.wrong(("probes",), f"must be a list; found {found(raw)}")
        return ()
    known = kinds or health_probes()
    read = [(index, _read_probe(sheet, ("probes", index), value, known)) for index, value in enumerate(raw)]
    seen: dict[str, int] = {}
    for index, probe in read:
        if probe and seen.setdefault(probe.name, index) != index:
            at = ("probes", index, "name") if probe.values.name else ("probes", index)
            sheet.wrong(at, f"probes[{seen[probe.name]}] is called {probe.name} too; give one of them another `name`")
    return tuple(probe for _, probe in read if probe)


def mistakes_of(probe: GivenProbe, authority: Callable[[str], str]) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a probe once its targets are filled in."""
    try:
        probe.filled(authority)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield detail["loc"][:1], str(detail.get("ctx", {}).get("error", detail["msg"]))


@cache
def written(kind: type[Probe]) -> type[Probe]:
    """Return the model of a kind as people write it."""
    marked = {name: field for name, field in kind.model_fields.items() if _marks(field)}
    fields: dict[str, Any] = {name: (_written(field), _described(field)) for name, field in marked.items()}
    bases: Any = (kind, Spec)
    return cast("type[Probe]", create_model(kind.__name__, __base__=bases, __doc__=kind.__doc__, **fields))


def _read_probe(sheet: Sheet, at: Path, raw: Any, kinds: ProbeRegistry) -> GivenProbe | None:
    if not isinstance(raw, dict):
        sheet.wrong(at, f"must be a mapping that starts with `kind:`; found {found(raw)}")
        return None
    kind = raw.get("kind")
    if not isinstance(kind, str):
        known = ", ".join(name for name, _ in kinds)
        sheet.wrong((*at, "kind"), f"must name a kind of probe; found {found(kind)} (there are: {known})")
        return None
    try:
        cls = kinds.get(kind)
    except UnknownKind as error:
        sheet.wrong((*at, "kind"), str(error))
        return None
    own = {key: value for key, value in raw.items() if key != "kind"}
    values = sheet.check(written(cls), own, at, beside=("kind",))
    return GivenProbe(cls, values) if values else None


def _marks(field: FieldInfo) -> list[Mark]:
    return [mark for mark in field.metadata if isinstance(mark, Mark)]


def _targets(kind: type[Probe]) -> list[str]:
    return [name for name, field in kind.model_fields.items() if Mark.TARGET in _marks(field)]


def _written(field: FieldInfo) -> Any:
    """Return the annotation of a marked field: its own checks, behind the reading of what people write."""
    checks = [check for check in field.metadata if not isinstance(check, Mark)]
    if Mark.SECONDS in _marks(field):
        return Annotated[(Duration, *checks)]
    return Annotated[(str, *checks, WrapValidator(_with_names))]


def _described(field: FieldInfo) -> Any:
    if field.is_required():
        return Field(description=field.description)
    return Field(default=field.default, description=field.description)


def _with_names(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check a target now where it has no {name} in it; later where it has."""
    if not isinstance(value, str) or not ("{" in value or "}" in value):
        return check(value)
    left = fill(value, dict.fromkeys(placeholders(value), ""))
    if "{" in left or "}" in left:
        raise ValueError(f"{value!r} has a stray brace; {{name}} stands for a host or a group of the inventory")
    return value
