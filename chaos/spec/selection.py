"""Which hosts a step acts on: the `on` of a fault, as it is written. Which hosts those are is for the plan to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, PlainSerializer, PlainValidator, Tag, WithJsonSchema, model_validator

from chaos.spec.fields import NotEmpty, Spec, Text
from chaos.units import share


@dataclass(frozen=True)
class Pick:
    """How many hosts of a group: a count, a share, or all of them when neither is set."""

    count: int | None = None
    share: float | None = None

    def out_of(self, size: int) -> int:
        """Return the number of hosts out of `size`. A share is rounded down, so as never to reach further than asked,
        but to no less than one host.
        """
        if self.share is not None:
            return max(1, int(self.share * size + 1e-9))
        return size if self.count is None else self.count

    def __str__(self) -> str:
        if self.share is not None:
            return f"{self.share:.4g}"
        return "all" if self.count is None else str(self.count)


def _pick(value: Any) -> Pick:
    if isinstance(value, Pick):
        return value
    if value == "all":
        return Pick()
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Pick(count=value)
    if isinstance(value, str) and value.endswith("%") and (part := share(value)) > 0:
        return Pick(share=part)
    raise ValueError(f'{value!r} is no number of hosts; write a whole number from 1, a share like "50%", or all')


PickField = Annotated[
    Pick,
    PlainValidator(_pick),
    PlainSerializer(str),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}, {"type": "string", "pattern": "%$"}]}
    ),
]


class On(Spec):
    """One host, several hosts, or a pick out of a group."""

    host: Text | None = None
    """One host of the inventory."""
    hosts: Annotated[tuple[Text, ...], NotEmpty] | None = None
    """Several hosts of the inventory."""
    group: Text | None = None
    """A group of the inventory."""
    pick: PickField = Pick()
    """How many hosts of the group: a number, a share like "50%" (rounded down, at least one), or all. Which ones
    follows from the experiment's seed and the trial."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(given is not None for given in (self.host, self.hosts, self.group)) != 1:
            raise ValueError("must have exactly one of host, hosts, group")
        if self.group is None and "pick" in self.model_fields_set:
            raise ValueError("pick goes with group only")
        if self.hosts and len(set(self.hosts)) < len(self.hosts):
            raise ValueError(f"names a host twice: {', '.join(self.hosts)}")
        return self


def _form(value: Any) -> Literal["name", "selection"]:
    return "name" if isinstance(value, str) else "selection"


Selection = Annotated[
    Annotated[Text, Tag("name")] | Annotated[On, Tag("selection")],
    Discriminator(_form),
]
"""`on: worker-1` and `on: workers` (a bare host or group: all of it), or a mapping."""
