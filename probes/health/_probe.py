"""What a probe is: the page to read before writing another kind.

A kind is one file with one subclass of `Probe`: its fields are its parameters, `check` asks once. Fields are described
by the string below them. Two marks say how whoever reads parameters from people may take them: SECONDS, a duration that
may be written with a unit; TARGET, a text in which names may stand for addresses.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StrictInt, ValidationInfo, field_validator

from probes.errors import ErrorKind

OUT = 100
SHORTEST, LONGEST = 0.010, 30.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Mark(Enum):
    """How people may write a parameter; see the module."""

    SECONDS = auto()
    TARGET = auto()


def _positive(value: float) -> float:
    if not 0 < value < 86_400:
        raise ValueError(f"must be more than 0 s and less than a day; found {value:g} s")
    return value


def _threshold(value: int) -> int:
    if not 1 <= value <= 100:
        raise ValueError(f"must be between 1 and 100; found {value}")
    return value


Seconds = Annotated[float, Mark.SECONDS, AfterValidator(_positive)]
Target = Annotated[str, Mark.TARGET]
Threshold = Annotated[StrictInt, AfterValidator(_threshold)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check came to. `first` (ns, 0: never) is when the answer began, `received` its bytes."""

    error: ErrorKind
    status: int = 0
    first: int = 0
    received: int = 0


class Probe(BaseModel, ABC):
    """One question, asked again and again. Durations in s."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: ClassVar[str]

    name: str = ""
    """What figures, reports and its samples file call it; its kind by default."""
    every: Seconds = 1.0
    """The time from one check to the next, whatever becomes of them; at least 10ms."""
    timeout: Seconds = 1.0
    """A check without an answer by then has failed; at most 30s, and at most 100 times `every`."""
    failure_threshold: Threshold = 3
    """So many failed checks in a row, and the probe says that the target is down (as in Kubernetes)."""
    success_threshold: Threshold = 1
    """So many good checks in a row, and the probe says that the target is back (as in Kubernetes)."""

    @field_validator("name")
    @classmethod
    def _is_a_file_name(cls, name: str) -> str:
        if name and not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: it starts with a letter or a digit, then also . _ -, 64 at most")
        return name

    @field_validator("every")
    @classmethod
    def _is_no_load(cls, every: float) -> float:
        if every < SHORTEST:
            raise ValueError(f"must be at least {SHORTEST * 1e3:g} ms: what asks more often is a load, not a probe")
        return every

    @field_validator("timeout")
    @classmethod
    def _is_bounded(cls, timeout: float, info: ValidationInfo) -> float:
        if timeout > LONGEST:
            raise ValueError(f"must be at most {LONGEST:g} s; found {timeout:g} s")
        every = info.data.get("every")
        if every and timeout > OUT * every * (1 + 1e-9):
            raise ValueError(
                f"{timeout:g} s is more than {OUT} times every ({every:g} s): too many could be out at once"
            )
        return timeout

    @property
    def called(self) -> str:
        """Its name, or its kind where none was given."""
        return self.name or self.kind

    @abstractmethod
    async def check(self) -> Outcome:
        """Ask once. Whatever the target does is an Outcome; the caller holds the timeout, by cancelling."""

    def objection(self) -> str | None:
        """Why this machine can't ask it, or None. It only looks."""
        return None

    def prepare(self) -> None:
        """Do once, before the first check is due, what would make it late: loading a library, reading a file."""
        return
