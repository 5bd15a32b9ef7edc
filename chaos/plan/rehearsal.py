"""A fault that is only rehearsed: the real one in all that looks, and nothing in all that acts.

`rehearsed` gives a fault of a subclass of the real one's class, made on the spot: what it asks the host, objects to,
needs, and takes for a clean host are the real fault's own. Its actions do nothing, and so does the undo that its fuse
holds: a fuse that fires in a rehearsal touches the host as little as the rehearsal did. So neither the runner nor the
injector knows of rehearsals; the plan's terms say that it is one, and the judge makes no pass of it.
"""

from __future__ import annotations

from functools import cache
from types import new_class
from typing import Any, TypeVar, cast

from chaos.contracts import Action, Dose, Fault, Shell

F = TypeVar("F", bound=Fault[Any])
_NOTHING = Shell("true")


class Rehearsal:
    """What of a fault acts, or shows that it acted."""

    release = "none: it was a rehearsal"

    def apply(self, before: Any) -> list[Action]:
        """Do nothing."""
        del before
        return [_NOTHING]

    def revert(self, before: Any) -> list[Action]:
        """Undo nothing."""
        del before
        return [_NOTHING]

    def is_applied(self, before: Any, now: Any) -> bool:
        """There is nothing to be seen, which is right."""
        del before, now
        return True

    def dose(self, before: Any, now: Any) -> Dose:
        """Nothing arrived, which is right."""
        del before, now
        return Dose(achieved={}, confirmed=True)


def rehearsed(fault: F) -> F:
    """Return the fault as it is rehearsed."""
    values = {name: getattr(fault, name) for name in type(fault).model_fields}
    return cast(F, _class_of(type(fault)).model_construct(_fields_set=fault.model_fields_set, **values))


@cache
def _class_of(real: type[Fault[Any]]) -> type[Fault[Any]]:
    return cast(
        type[Fault[Any]],
        new_class(
            f"Rehearsed{real.__name__}", (Rehearsal, real), exec_body=lambda body: body.update(__module__=__name__)
        ),
    )
