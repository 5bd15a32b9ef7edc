"""The least a fault can be: it asks nothing of a host and does nothing to it."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from chaos.contracts import Action, Fault, Output, Reading


class Toy(Fault[Any]):
    def reading(self) -> Reading[Any]:
        return Reading((Output("true"),), str)

    @override
    def objection(self, before: Any) -> str | None:
        return None

    @override
    def apply(self, before: Any) -> list[Action]:
        return []

    @override
    def revert(self, before: Any) -> list[Action]:
        return []

    @override
    def is_applied(self, before: Any, now: Any) -> bool:
        return True

    @override
    def is_reverted(self, before: Any, now: Any) -> bool:
        return True
