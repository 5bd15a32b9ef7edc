"""`load.arrivals` of an experiment: when requests are sent.

What a file named here holds, and whether the steps fill the timeline, is asked once the whole experiment is read
(`mistakes`), by the same code that the load runs on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from chaos.spec.fields import LocalFile, NotEmpty, PositiveDuration, PositiveNumber, PositiveRate, Spec
from chaos.spec.places import Path
from chaos.units import Rate


class RateStep(Spec):
    """A stretch of the load: at one rate, or from one rate to another at an even pace."""

    for_: PositiveDuration | None = Field(default=None, alias="for")
    """How long; the last step may leave it out and lasts to the end of the run."""
    rate: Rate | None = None
    """Requests per second; 0/s is a pause."""
    from_: Rate | None = Field(default=None, alias="from")
    """The rate at the beginning of a ramp."""
    to: Rate | None = None
    """The rate at the end of a ramp."""

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        ramp = [rate for rate in (self.from_, self.to) if rate is not None]
        if (self.rate is None) != (len(ramp) == 2) or (self.rate is not None and ramp):
            raise ValueError("is {for, rate} or {for, from, to}")
        return self

    @property
    def rates(self) -> tuple[float, float]:
        """The rates at its beginning and its end."""
        first = self.from_ if self.rate is None else self.rate
        last = self.to if self.rate is None else self.rate
        assert first is not None
        assert last is not None
        return first, last


class Arrivals(Spec):
    """When requests are sent: an open loop, whatever the answers do.

    A trace is a CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, those of the Azure LLM inference
    traces of 2023 (CC-BY-4.0; Patel et al., "Splitwise", ISCA 2024). It is replayed from its first row.
    """

    process: Literal["constant", "poisson", "gamma", "trace"] = "poisson"
    """constant: evenly paced; poisson: independent arrivals; gamma: bursts, set by burstiness; trace: recorded ones."""
    rate: PositiveRate | None = None
    """Requests per second on the average, like "200/s"."""
    steps: Annotated[tuple[RateStep, ...], NotEmpty] = ()
    """The rate over time, in place of `rate`: [{for: 10s, rate: 100/s}, {for: 5s, from: 100/s, to: 500/s}, ...]."""
    burstiness: PositiveNumber = 1.0
    """The shape of the gamma gaps: 1 is poisson, less is burstier (variance-to-mean 1/burstiness)."""
    trace: LocalFile | None = None
    """The file of a trace, relative to the experiment's."""
    fit: Literal["thin", "scale"] | None = None
    """How the mean of the trace becomes `rate`: thin drops rows by chance, scale stretches time."""

    @field_validator("burstiness")
    @classmethod
    def _is_gamma(cls, value: float, info: ValidationInfo) -> float:
        process = info.data.get("process", "gamma")
        if process != "gamma":
            raise ValueError(f"burstiness belongs to process gamma; found process {process}")
        return value

    @field_validator("trace", "fit")
    @classmethod
    def _is_trace(cls, value: str, info: ValidationInfo) -> str:
        process = info.data.get("process", "trace")
        if process != "trace":
            raise ValueError(f"{info.field_name} belongs to process trace; found process {process}")
        return value

    @field_validator("steps")
    @classmethod
    def _is_the_rate(cls, steps: tuple[RateStep, ...], info: ValidationInfo) -> tuple[RateStep, ...]:
        if info.data.get("process") == "trace":
            raise ValueError("a trace brings its own times; leave steps out")
        if info.data.get("rate") is not None:
            raise ValueError("there is a rate too; write one of rate and steps")
        return steps

    @model_validator(mode="after")
    def _says_how_many(self) -> Self:
        if self.process != "trace":
            if self.rate is None and not self.steps:
                raise ValueError("says not how many; write rate, or steps")
        elif self.trace is None:
            raise ValueError("process trace needs a file; write trace: FILE.csv")
        elif (self.rate is None) != (self.fit is None):
            raise ValueError(
                "a trace is fitted to a rate with both rate and fit, and replayed as recorded with neither"
            )
        return self

    def mistakes(self, duration: float) -> Iterator[tuple[Path, str]]:
        """Yield what a load of `duration` s would find wrong, each with the key it stands under."""
        if not self.steps and self.trace is None:
            return
        from probes.errors import PlanError
        from probes.profile import Profile, Step
        from probes.trace import Replay

        try:
            if self.steps:
                Profile([Step(step.for_, *step.rates) for step in self.steps], duration)
        except PlanError as error:
            yield ("steps",), str(error).removeprefix("steps: ")
        try:
            if self.trace is not None:
                Replay.of(self.trace, self.fit, self.rate, duration, seed=0)
        except PlanError as error:
            yield ("trace",), str(error)
