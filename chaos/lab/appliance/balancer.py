"""How the gateway picks a worker for a request: pure, one class a policy.

Takes the candidates (healthy, not yet tried for this request, in the order of the command line); gives one. The
gateway asks once a try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """What a balancer may know of a worker."""

    outstanding: int
    """Requests sent or being sent to it that have not ended."""


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """A policy."""

    def pick(self, candidates: Sequence[C]) -> C:
        """Return one of at least one candidate."""


class RoundRobin:
    """Each in turn, whatever it has to do."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[C]) -> C:
        """Return the next in turn."""
        self._turn += 1
        return candidates[self._turn % len(candidates)]


class LeastOutstanding:
    """The one with the fewest requests in progress; among equals, each in turn."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[C]) -> C:
        """Return the least busy, beginning the search one further each time."""
        self._turn = start = (self._turn + 1) % len(candidates)
        chosen = candidates[start]
        for offset in range(1, len(candidates)):
            candidate = candidates[(start + offset) % len(candidates)]
            if candidate.outstanding < chosen.outstanding:
                chosen = candidate
        return chosen


BALANCERS: dict[str, type[Balancer]] = {"round_robin": RoundRobin, "least_outstanding": LeastOutstanding}
"""By the value of the setting `balancer`."""
