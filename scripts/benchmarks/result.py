"""What a benchmark takes and gives."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from scripts.benchmarks.figures import Figure
from scripts.benchmarks.rounds import Measured


@dataclass(frozen=True)
class Bench:
    """Where and how to measure: the cores of client and server, and whether the memory is watched for a whole hour."""

    client: int
    server: int
    hour: bool = False

    def say(self, line: str) -> None:
        """Show progress."""
        sys.stderr.write(line + "\n")


@dataclass(frozen=True)
class Result:
    """Figures with their targets, the absolute rates of all clients round by round, and what to know of both."""

    title: str
    figures: tuple[Figure, ...]
    rates: Measured
    notes: tuple[str, ...]
