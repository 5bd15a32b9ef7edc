"""What one load process is to do: a value, written as JSON by who wants the load and read by the process that makes it.

A key that is not known is an error, never ignored: a misspelt `timeout` must not become a default one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import get_args

from probes.checks import (
    build,
    check_list,
    check_number,
    check_one_of,
    check_optional,
    check_text,
    check_whole,
)
from probes.errors import PlanError
from probes.keys import MOST as MOST_KEYS
from probes.overlay import MOST as MOST_OVERLAYS
from probes.overlay import Overlay
from probes.profile import Profile, Step
from probes.schedule import Process
from probes.slo import Slo
from probes.template import unfilled
from probes.trace import Fit
from probes.url import Url

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")  # RFC 9110, section 5.5
_FRAMING = {"content-length", "transfer-encoding", "upgrade", "expect"}
_PROCESSES = get_args(Process)
_WHOLE = {"start": 0, "seed": 0, "connections": 1, "response_limit": 1, "worker": 0, "workers": 1}
RESPONSE_LIMIT = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """One kind of request in the mix.

    In `body`, placeholders like `{seq}` are filled for each arrival: `template` says which there are, and what changes
    where the body is JSON. `prompts` is the path of a file with one prompt a line.
    """

    name: str
    weight: float = 1.0
    body: str | None = None
    is_json: bool = False
    prompts: str | None = None

    def __post_init__(self) -> None:
        check_text("classes.name", self.name)
        check_number(f"classes.{self.name}.weight", self.weight, above=0)
        if self.body is not None and not isinstance(self.body, str):
            raise PlanError(f"classes.{self.name}.body: must be a string or null; found {self.body!r}")
        if not isinstance(self.is_json, bool):
            raise PlanError(f"classes.{self.name}.is_json: must be true or false; found {self.is_json!r}")
        if self.prompts is not None:
            check_text(f"classes.{self.name}.prompts", self.prompts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One open-loop load. Durations in s, rate in 1/s; raises PlanError where a value makes no sense.

    process             how arrivals come: constant, poisson, gamma (of shape `burstiness`), or trace
    rate                on the average; for a trace what it is fitted to, None as recorded
    steps               the rate over time, in place of `rate`
    trace, fit          path of the trace (see `trace`), and how it is brought to `rate`
    start               absolute CLOCK_MONOTONIC in ns: offset 0 of the schedule
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
    keys                how many keys {key} in a body is drawn from
    overlays            what is laid over the schedule for a while
    worker, workers     index of this process among `workers` that share a load: it takes arrivals worker, + workers ...
    """

    url: str
    duration: float
    start: int
    samples: str
    live: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[RequestClass, ...] = field(default_factory=lambda: (RequestClass(name="default"),))
    process: Process = "poisson"
    rate: float | None = None
    burstiness: float = 1.0
    steps: tuple[Step, ...] = ()
    trace: str | None = None
    fit: Fit | None = None
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
    keys: int | None = None
    overlays: tuple[Overlay, ...] = ()
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        Url.parse(check_text("url", self.url))
        for name in ("duration", "burstiness", "timeout", "connect_timeout"):
            check_number(name, getattr(self, name), above=0)
        check_optional("rate", self.rate, above=0)
        check_optional("drain", self.drain, least=0)
        check_optional("first_byte_timeout", self.first_byte_timeout, above=0)
        for name in ("latency", "ttft", "tpot"):
            check_optional(f"slo.{name}", getattr(self.slo, name), least=0)
        for name, least in _WHOLE.items():
            check_whole(name, getattr(self, name), least)
        for name in ("samples", "live"):
            check_text(name, getattr(self, name))
        for name in ("unix_socket", "ca", "certificate", "key", "chunks", "statistics", "trace"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        _check_together(self)
        check_one_of("process", self.process, _PROCESSES)
        _check_arrivals(self)
        _check_request(self.method, self.headers)
        _check_classes(self.classes, self.process == "trace", self.keys is not None)
        _check_overlays(self)

    @property
    def profile(self) -> Profile:
        """The rate over time; a trace has its own instead, and raises PlanError."""
        rate = self.rate or 0.0
        return Profile(self.steps or (Step(None, rate, rate),), self.duration)

    @property
    def drain_or_timeout(self) -> float:
        """How long answers are waited for after the last send, in s."""
        return self.timeout if self.drain is None else self.drain

    def called_off(self, overlay: int, when: int) -> LoadPlan:
        """Return the plan with an overlay called off, at `when` (ns from the start) or when it was before."""
        found = self.overlays[overlay]
        cut = when if found.called_off is None else min(when, found.called_off)
        changed = replace(found, called_off=cut)
        return replace(self, overlays=(*self.overlays[:overlay], changed, *self.overlays[overlay + 1 :]))

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
            listed = check_list("classes", loaded["classes"])
            loaded["classes"] = tuple(build(RequestClass, "classes.", entry) for entry in listed)
        if "steps" in loaded:
            loaded["steps"] = tuple(build(Step, "steps.", entry) for entry in check_list("steps", loaded["steps"]))
        if "overlays" in loaded:
            loaded["overlays"] = tuple(map(Overlay.of, check_list("overlays", loaded["overlays"])))
        if "slo" in loaded:
            loaded["slo"] = build(Slo, "slo.", loaded["slo"])
        return build(cls, "", loaded)


def _check_together(plan: LoadPlan) -> None:
    """Check what only two keys together can get wrong."""
    if plan.worker >= plan.workers:
        raise PlanError(f"worker: must be less than workers ({plan.workers}); found {plan.worker}")
    if plan.key is not None and plan.certificate is None:
        raise PlanError("key: there is no certificate to go with it; give certificate too")
    if plan.stream and plan.chunks is None:
        raise PlanError("chunks: a load of streams needs the path of a file for the times of its chunks")


def _check_arrivals(plan: LoadPlan) -> None:
    """Check that the arrivals say all they need, and nothing that belongs to others."""
    if plan.fit is not None:
        check_one_of("fit", plan.fit, get_args(Fit))
    if plan.process == "trace":
        _check_trace(plan)
        return
    for name in ("trace", "fit"):
        if getattr(plan, name) is not None:
            raise PlanError(f"{name}: belongs to process trace; found process {plan.process}")
    if (plan.rate is None) == (not plan.steps):
        raise PlanError("rate: give either rate or steps")
    _ = plan.profile  # refuses steps that don't fill the duration


def _check_trace(plan: LoadPlan) -> None:
    if plan.steps:
        raise PlanError("steps: a trace brings its own times; leave steps out")
    if plan.trace is None:
        raise PlanError("trace: process trace needs the path of one")
    if (plan.rate is None) != (plan.fit is None):
        raise PlanError(
            "fit: a trace is fitted to a rate by rate and fit together, or replayed as recorded with neither"
        )


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


def _check_overlays(plan: LoadPlan) -> None:
    if plan.keys is not None:
        check_whole("keys", plan.keys, 1)
        if plan.keys > MOST_KEYS:
            raise PlanError(f"keys: must be at most {MOST_KEYS}; found {plan.keys}")
    if len(plan.overlays) > MOST_OVERLAYS:
        raise PlanError(f"overlays: at most {MOST_OVERLAYS}; found {len(plan.overlays)}")
    for overlay in plan.overlays:
        if overlay.end > plan.duration + 1e-9:
            raise PlanError(f"overlays.end: the load lasts {plan.duration:g} s; found {overlay.end:g}")
        if overlay.weights and len(overlay.weights) != len(plan.classes):
            raise PlanError(f"overlays.weights: must be one for each class; found {len(overlay.weights)}")
        if overlay.keys and plan.keys is None:
            raise PlanError("overlays.keys: the load has no keys; give keys too")


def _check_classes(classes: tuple[RequestClass, ...], trace: bool, keys: bool) -> None:
    names = [entry.name for entry in classes]
    if not names or len(set(names)) < len(names):
        raise PlanError(f"classes: must be at least one, each with a name of its own; found {names}")
    for entry in classes:
        if why := unfilled(entry.body or "", prompts=entry.prompts is not None, trace=trace, keys=keys):
            raise PlanError(f"classes.{entry.name}.body: {why}")
