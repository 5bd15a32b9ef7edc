"""What one load process is to do: a value, written as JSON by who wants the load and read by the process that makes it.

A key that is not known is an error, never ignored: a misspelt `timeout` must not become a default one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from probes.errors import PlanError
from probes.schedule import Process
from probes.slo import Slo
from probes.url import Url

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")  # RFC 9110, section 5.5
_FRAMING = {"content-length", "transfer-encoding", "upgrade", "expect"}
_PROCESSES = get_args(Process)
_WHOLE = {"start": 0, "seed": 0, "connections": 1, "response_limit": 1, "worker": 0, "workers": 1}
RESPONSE_LIMIT = 64 * 2**20
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """One kind of request in the mix.

    In `body`, `{seq}` is replaced by the arrival's number (from 0, over all classes) and `{rand}` by 16 hexadecimal
    digits that the seed and that number fix; every other brace stands for itself.
    """

    name: str
    weight: float = 1.0
    body: str | None = None

    def __post_init__(self) -> None:
        _check_text("classes.name", self.name)
        _check_number(f"classes.{self.name}.weight", self.weight, above=0)
        if self.body is not None and not isinstance(self.body, str):
            raise PlanError(f"classes.{self.name}.body: must be a string or null; found {self.body!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One open-loop load. Durations in s, rate in 1/s; raises PlanError where a value makes no sense.

    start            absolute CLOCK_MONOTONIC in ns: offset 0 of the schedule
    timeout             from `sent` to the complete answer, connecting included
    connect_timeout     name, TCP and TLS together
    first_byte_timeout  from `sent` to the first byte of the answer; no limit of its own when null
    response_limit      most bytes of one answer, head included; a longer one is cut off and fails
    connections         most open at once; an arrival that finds all busy waits, and its `sent` shows it
    drain               how long after the last send answers are waited for; `timeout` when null
    stream              answers are streamed chat completions (server-sent events)
    http2               speak HTTP/2 by httpx's own transport, instead of HTTP/1.1 by `wire`
    unix_socket         path of a socket to connect to; the URL's host then only goes into the Host field
    ca                  path of the authorities (PEM) that https is verified against, in place of the system's
    certificate, key    paths of this client's own certificate (PEM) and of its key, where not in the same file
    slo                 when an answer is good; only the live counter `good` uses it
    samples, live       paths of the files to write; neither may exist
    chunks              the like for the times of streamed chunks; required by `stream`
    statistics          the like for what this process itself used (JSON): CPU, lag of the event loop
    worker, workers     index of this process among `workers` that share a load: it takes arrivals worker, + workers ...
    """

    url: str
    rate: float
    duration: float
    start: int
    samples: str
    live: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[RequestClass, ...] = field(default_factory=lambda: (RequestClass(name="default"),))
    process: Process = "poisson"
    burstiness: float = 1.0
    seed: int = 0
    slo: Slo = field(default_factory=Slo)
    timeout: float = 10.0
    connect_timeout: float = 3.0
    first_byte_timeout: float | None = None
    response_limit: int = RESPONSE_LIMIT
    connections: int = 2048
    drain: float | None = None
    stream: bool = False
    http2: bool = False
    unix_socket: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    chunks: str | None = None
    statistics: str | None = None
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        Url.parse(_check_text("url", self.url))
        for name in ("rate", "duration", "burstiness", "timeout", "connect_timeout"):
            _check_number(name, getattr(self, name), above=0)
        _check_optional("drain", self.drain, least=0)
        _check_optional("first_byte_timeout", self.first_byte_timeout, above=0)
        for name in ("latency", "ttft", "tpot"):
            _check_optional(f"slo.{name}", getattr(self.slo, name), least=0)
        for name, least in _WHOLE.items():
            _check_whole(name, getattr(self, name), least)
        for name in ("samples", "live"):
            _check_text(name, getattr(self, name))
        for name in ("unix_socket", "ca", "certificate", "key", "chunks", "statistics"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        _check_together(self)
        if self.process not in _PROCESSES:
            raise PlanError(f"process: allowed are {', '.join(_PROCESSES)}; found {self.process!r}")
        _check_request(self.method, self.headers)
        _check_classes(self.classes)

    @property
    def drain_or_timeout(self) -> float:
        """How long answers are waited for after the last send, in s."""
        return self.timeout if self.drain is None else self.drain

    def write(self, path: Path | str) -> None:
        """Write the plan as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path | str) -> LoadPlan:
        """Read what `write` wrote. Raises PlanError for a plan that is wrong, OSError for a file that can't be read."""
        try:
            loaded = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise PlanError(f"{path}: not JSON: {error}") from error
        if not isinstance(loaded, dict):
            raise PlanError(f"{path}: a plan is a JSON object; found {type(loaded).__name__}")
        if "classes" in loaded:
            _check_list("classes", loaded["classes"])
            loaded["classes"] = tuple(_build(RequestClass, "classes.", entry) for entry in loaded["classes"])
        if "slo" in loaded:
            loaded["slo"] = _build(Slo, "slo.", loaded["slo"])
        return _build(cls, "", loaded)


def _build(cls: type[T], prefix: str, values: Any) -> T:
    """Call `cls` with the values; unknown and missing keys are named."""
    if not isinstance(values, dict):
        raise PlanError(f"{prefix or 'plan'}: must be a JSON object; found {values!r}")
    allowed = [f.name for f in fields(cls)]  # type: ignore[arg-type]  # T is one of the dataclasses of a plan
    if unknown := sorted(set(values) - set(allowed)):
        raise PlanError(f"{prefix}{unknown[0]}: no such key; allowed are {', '.join(allowed)}")
    try:
        return cls(**values)
    except TypeError as error:
        raise PlanError(f"{prefix or 'plan'}: {error}") from error


def _check_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise PlanError(f"{name}: must be a string that is not empty; found {value!r}")
    return value


def _check_number(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not isinstance(value, (int, float)) or value <= above or value < least:
        limit = f"> {above:g}" if above > -math.inf else f">= {least:g}"
        raise PlanError(f"{name}: must be a number {limit}; found {value!r}")


def _check_optional(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    if value is not None:
        _check_number(name, value, above=above, least=least)


def _check_together(plan: LoadPlan) -> None:
    """Check what only two keys together can get wrong."""
    if plan.worker >= plan.workers:
        raise PlanError(f"worker: must be less than workers ({plan.workers}); found {plan.worker}")
    if plan.key is not None and plan.certificate is None:
        raise PlanError("key: there is no certificate to go with it; give certificate too")
    if plan.stream and plan.chunks is None:
        raise PlanError("chunks: a load of streams needs the path of a file for the times of its chunks")


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise PlanError(f"{name}: must be a whole number >= {least}; found {value!r}")


def _check_list(name: str, value: object) -> None:
    if not isinstance(value, list):
        raise PlanError(f"{name}: must be a list; found {value!r}")


def _check_request(method: str, headers: Mapping[str, str]) -> None:
    if not isinstance(method, str) or not _TOKEN.match(method) or method == "CONNECT":
        raise PlanError(f"method: must be an HTTP method other than CONNECT; found {method!r}")
    if not isinstance(headers, Mapping):
        raise PlanError(f"headers: must be an object of strings; found {headers!r}")
    for name, value in headers.items():
        if not _TOKEN.match(name) or not isinstance(value, str) or not _FIELD_VALUE.match(value):
            raise PlanError(f"headers.{name}: must be an HTTP field on one line (RFC 9110); found {value!r}")
        if name.lower() in _FRAMING:
            raise PlanError(f"headers.{name}: the load frames its requests itself; leave it out")


def _check_classes(classes: tuple[RequestClass, ...]) -> None:
    names = [entry.name for entry in classes]
    if not names or len(set(names)) < len(names):
        raise PlanError(f"classes: must be at least one, each with a name of its own; found {names}")
