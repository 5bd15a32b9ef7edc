"""What a run is judged by, agreed before it starts and kept in plan.json: offline, `judge` needs nothing else.

BUDGETS is the vocabulary: a budget's name in YAML, the figure it binds, and on which side of the limit the good lies.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from chaos.overlays import Frozen as Frozen
from chaos.overlays import Least0 as Least0
from chaos.overlays import RatePiece


class BudgetKind(NamedTuple):
    """A budget's figure, its unit ("s", "1", "1/s"), and whether the limit is the most or the least allowed."""

    figure: str
    unit: str
    side: Literal["max", "min"]


BUDGETS: dict[str, BudgetKind] = {
    "mttr": BudgetKind("time_to_recover_s", "s", "max"),
    "time_to_detect": BudgetKind("time_to_detect_s", "s", "max"),
    "recovery_lag": BudgetKind("recovery_lag_s", "s", "max"),
    "outage": BudgetKind("outage_seconds", "s", "max"),
    "latency_p50": BudgetKind("latency_p50_s", "s", "max"),
    "latency_p90": BudgetKind("latency_p90_s", "s", "max"),
    "latency_p99": BudgetKind("latency_p99_s", "s", "max"),
    "ttft_p50": BudgetKind("ttft_p50_s", "s", "max"),
    "ttft_p99": BudgetKind("ttft_p99_s", "s", "max"),
    "tpot_p50": BudgetKind("tpot_p50_s", "s", "max"),
    "tpot_p99": BudgetKind("tpot_p99_s", "s", "max"),
    "itl_p99": BudgetKind("itl_p99_s", "s", "max"),
    "qps_cv": BudgetKind("qps_cv_real", "1", "max"),
    "qps_dip": BudgetKind("qps_dip", "1", "max"),
    "error_ratio": BudgetKind("error_ratio", "1", "max"),
    "lost_requests": BudgetKind("lost_requests", "requests", "max"),
    "qps": BudgetKind("qps_mean", "1/s", "min"),
    "tokens_per_second": BudgetKind("tokens_per_second", "1/s", "min"),
    "goodput": BudgetKind("goodput_ratio", "1", "min"),
    "availability": BudgetKind("availability_requests", "1", "min"),
    "availability_time": BudgetKind("availability_time", "1", "min"),
}

STREAMED = ("ttft", "tpot", "itl", "tokens")
"""How the names of figures and budgets begin that only a load of streams has."""


Process = Literal["constant", "poisson", "gamma", "trace", "closed", "watched"]


Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
_MOST_WINDOWS = 10_000_000


class Budget(Frozen):
    """One limit; `name` is a key of BUDGETS and `limit` is in that budget's unit."""

    name: str
    limit: Annotated[float, Field(allow_inf_nan=False)]

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in BUDGETS:
            raise ValueError(f"no budget has this name (there are: {', '.join(BUDGETS)})")
        return name


AT_ONCE = 1e-3
"""The s in which requests that are sent at once are taken to be sent."""


class AddedRate(RatePiece):
    """What a change of the load (the id of its fault) adds to the rate."""

    fault: str


class ProbeTerms(Frozen):
    """One health probe beside the load. Times in s; the thresholds count checks in a row."""

    name: str
    kind: str
    every: Positive
    timeout: Positive
    failure_threshold: Annotated[int, Field(ge=1)]
    success_threshold: Annotated[int, Field(ge=1)]


class Terms(Frozen):
    """The load that was intended, the timeline, and the limits. Times in s, rates in 1/s.

    `process` says when requests come: an open loop's arrivals, "closed" (each user sends when it has its answer) or
    "watched" (traffic that is there already). Of those two no rate is intended, and `rate` is 0. `profile` is the
    intended rate over time where it is not `rate` throughout; `rate` is then its mean over the observation. Both are
    the load's own: what changes of it add stands in `added`, and is meant to be sent as well.

    `zero` of every figure is the end of the baseline: warm-up runs from -(warmup + baseline), observation to `observe`.
    """

    name: str
    hypothesis: str = ""
    rate: Least0 = 0.0
    process: Process = "poisson"
    burstiness: Positive = 1.0
    profile: tuple[RatePiece, ...] = ()
    added: tuple[AddedRate, ...] = ()
    classes: tuple[str, ...] = ("default",)
    slo_latency: Least0 | None = None
    slo_ttft: Least0 | None = None
    slo_tpot: Least0 | None = None
    stream: bool = False
    offered_known: bool = True
    """Whether the requests that failed are counted too; of watched traffic only where a query was given for it."""
    warmup: Least0
    baseline: Least0
    observe: Least0
    window: Positive = 1.0
    budgets: tuple[Budget, ...] = ()
    probes: tuple[ProbeTerms, ...] = ()
    rehearsal: bool = False
    """Whether everything was done but applying and undoing the faults: such a run can't pass."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if (self.warmup + self.baseline + self.observe) / self.window > _MOST_WINDOWS:
            raise ValueError(f"the run is longer than {_MOST_WINDOWS:,} windows of {self.window:g} s")
        return self

    @property
    def is_open_loop(self) -> bool:
        """Whether requests were due at moments fixed beforehand, whatever the answers did."""
        return self.process not in ("closed", "watched")

    @property
    def peak_rate(self) -> float:
        """The highest rate that is intended at any time, in 1/s, over a window at least; 0 where none is."""
        own = max((max(piece.first, piece.last) for piece in self.profile), default=self.rate)
        if not self.added:
            return own
        begins = [begin for piece in self.added for begin in (piece.begin, piece.end - self.window)]
        return max(own, *(self.intended(begin, begin + self.window) / self.window for begin in begins))

    @property
    def arrival_dispersion(self) -> float | None:
        """F0, the variance-to-mean ratio that the arrivals alone put into a count: 1 Poisson, 0 paced, 1/b gamma.

        Of a trace it is not known and 1 by convention: the real CV of a replay contains the trace's own burstiness.
        None where it does not follow from the process and has to be measured: `judge.dispersion`.
        """
        return {"constant": 0.0, "poisson": 1.0, "gamma": 1.0 / self.burstiness, "trace": 1.0}.get(self.process)

    def intended(self, begin: float, end: float) -> float:
        """Return how many requests were meant to be due in a span (s from zero), on the mean of all seeds."""
        added = sum(piece.intended(begin, end) for piece in self.added)
        if not self.profile:
            return self.rate * (end - begin) + added
        return sum(piece.intended(begin, end) for piece in self.profile) + added

    def offered_evenly(self, begin: float, end: float) -> bool:
        """Whether the load's own rate was one throughout a span (s from zero); that of a trace is never even."""
        inside = [piece for piece in self.profile if piece.begin < end and piece.end > begin]
        return self.process != "trace" and len({rate for piece in inside for rate in (piece.first, piece.last)}) <= 1
