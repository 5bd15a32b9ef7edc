"""The settings of each part: what they are, what they may be, and the one place where a value is refused.

Takes `{name: value}` from the command line or `PATCH /admin/settings`; gives a dataclass whose attributes the parts
read whenever they need them, so that a change takes effect with the next request, step or check.

The decision a reader would question: the dataclass is mutable and shared. One event loop reads and writes it, and a
change is validated whole before any of it is assigned, so no reader ever sees half of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from chaos.errors import InputError


def _number(default: float, minimum: float, maximum: float, text: str, *, unit: str = "", live: bool = True) -> Any:
    limits = {"minimum": minimum, "maximum": maximum, "unit": unit}
    return field(default=default, metadata=limits | {"help": text, "live": live})


def _choice(default: str, choices: tuple[str, ...], text: str) -> Any:
    return field(default=default, metadata={"choices": choices, "help": text, "live": True})


@dataclass
class WorkerSettings:
    """What a worker can be told. A step takes `step_base + step_per_sequence * batch + step_per_token * tokens`."""

    max_batch: int = _number(32, 1, 4096, "sequences that one step serves at most")
    max_waiting: int = _number(512, 0, 100_000, "requests that may wait for admission; more are refused with 503")
    kv_capacity: int = _number(16_384, 16, 100_000_000, "KV cache; beyond it the last sequence admitted is preempted")
    default_max_tokens: int = _number(4, 1, 4096, "output tokens of a request that has no max_tokens")
    step_base: float = _number(0.005, 0.0, 10.0, "a step's fixed cost", unit="s")
    step_per_sequence: float = _number(0.0001, 0.0, 10.0, "a step's cost per sequence in the batch", unit="s")
    step_per_token: float = _number(0.00001, 0.0, 10.0, "a step's cost per token computed", unit="s")
    preemption_cost: float = _number(0.001, 0.0, 10.0, "a step's cost per sequence preempted", unit="s")
    startup: float = _number(0.0, 0.0, 3600.0, "time from start to ready (loading the model)", unit="s", live=False)
    drain: float = _number(2.0, 0.0, 60.0, "time that requests in progress get after SIGTERM", unit="s")


@dataclass
class GatewaySettings:
    """What a gateway can be told."""

    balancer: str = _choice("round_robin", ("round_robin", "least_outstanding"), "how a worker is picked")
    max_inflight: int = _number(1024, 1, 100_000, "requests in progress; more are refused with 503")
    token_rate: float = _number(0.0, 0.0, 1e6, "token bucket: requests let through; 0 is off", unit="1/s")
    token_burst: int = _number(100, 1, 1_000_000, "token bucket: size, in requests")
    connect_timeout: float = _number(1.0, 0.01, 60.0, "time to connect to a worker", unit="s")
    upstream_timeout: float = _number(2.0, 0.01, 600.0, "silence of a worker that ends a request with 504", unit="s")
    health_interval: float = _number(0.5, 0.05, 60.0, "from one health check of a worker to the next", unit="s")
    health_timeout: float = _number(1.0, 0.05, 60.0, "time that a health check may take", unit="s")
    health_fall: int = _number(1, 1, 100, "failed checks in a row that eject a worker")
    health_rise: int = _number(2, 1, 100, "passed checks in a row that readmit a worker")
    passive_fall: int = _number(3, 1, 1000, "failed requests in a row that eject a worker")
    ejection_time: float = _number(2.0, 0.0, 600.0, "time that failed requests keep a worker out", unit="s")
    drain: float = _number(2.0, 0.0, 60.0, "time that requests in progress get after SIGTERM", unit="s")


Settings = WorkerSettings | GatewaySettings


def describe(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return name -> value, default, allowed range (or choices), unit, help, and whether it can change at run time."""
    return {
        entry.name: {"value": getattr(settings, entry.name), "default": entry.default, **entry.metadata}
        for entry in fields(settings)
    }


def change(settings: Settings, asked: object, *, running: bool = True) -> None:
    """Assign `asked` (name -> value), all or nothing; InputError names what was asked and what is allowed.

    While `running`, what only counts at the start is refused.
    """
    if not isinstance(asked, Mapping):
        raise InputError(f"settings are an object of name: value; found {type(asked).__name__}")
    known = {entry.name: entry for entry in fields(settings)}
    accepted = {name: _accept(known, name, value, running) for name, value in asked.items()}
    for name, value in accepted.items():
        setattr(settings, name, value)


def _accept(known: Mapping[str, Field[Any]], name: str, value: object, running: bool) -> object:
    entry = known.get(name)
    if entry is None:
        near = get_close_matches(str(name), known, 1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"no setting {name!r}; {meant}there are: {', '.join(known)}")
    if running and not entry.metadata["live"]:
        raise InputError(f"{name} counts at the start only; start the process again with it")
    return _choose(entry, value) if "choices" in entry.metadata else _measure(entry, value)


def _choose(entry: Field[Any], value: object) -> object:
    if value not in entry.metadata["choices"]:
        raise InputError(f"{entry.name}: asked {value!r}, allowed: {', '.join(entry.metadata['choices'])}")
    return value


def _measure(entry: Field[Any], value: object) -> object:
    whole = isinstance(entry.default, int)
    low, high, unit = entry.metadata["minimum"], entry.metadata["maximum"], entry.metadata["unit"]
    fits = isinstance(value, int) or (isinstance(value, float) and not whole)
    # Written so that NaN, which compares false with everything, is refused too.
    if isinstance(value, bool) or not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"{entry.name}: asked {value!r}, allowed: {kind} from {low:g} to {high:g} {unit}".rstrip())
    return value
