"""The `load` of an experiment: what is sent, how often, and what counts as good."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator

from chaos.spec.arrivals import Arrivals
from chaos.spec.fields import (
    Count,
    LocalFile,
    LocalPath,
    NotEmpty,
    PositiveDuration,
    PositiveNumber,
    PositiveSize,
    Spec,
    Text,
)
from chaos.spec.places import Path
from chaos.units import show_seconds
from probes.url import has_credentials

_PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a field name, RFC 9110 5.6.2
_FRAMING = ("content-length", "transfer-encoding", "upgrade", "expect")
_MOST_KEYS = 1_000_000
_FIELD_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")  # no control characters but tab, RFC 9110 5.5


def check_url(url: str) -> str:
    """Return the URL. Raises ValueError for what no request can be sent to; it repeats no password."""
    _refuse_credentials(url)
    if not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{url!r} has a character in it that is not visible ASCII; write it percent-encoded")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL to send to; write it like http://host/path")
    if parts.port == 0:  # reading it raises ValueError for what is no port
        raise ValueError(f"{url!r} names port 0")
    return url


def _refuse_credentials(url: str) -> None:
    if has_credentials(url):
        raise ValueError("holds credentials, which would be recorded; leave them out")


def check_template(url: str) -> str:
    """Check a URL with each placeholder filled by its own name."""
    _refuse_credentials(url)
    filled = _PLACEHOLDER.sub(r"\1", url)
    if "{" in filled or "}" in filled:
        raise ValueError(f"{url!r} has a stray brace; {{name}} stands for a host or a group of the inventory")
    check_url(filled)
    return url


def _not_too_many(keys: int) -> int:
    if keys > _MOST_KEYS:
        raise ValueError(f"must be at most {_MOST_KEYS}; found {keys}")
    return keys


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if name.lower() in _FRAMING:
            raise ValueError(f"{name} is set by the load itself, which frames every request; leave it out")
        if not (value.isascii() and _FIELD_VALUE.fullmatch(value)):
            raise ValueError(f"the value of {name} must be ASCII without control characters")
    return headers


class LoadClass(Spec):
    """One class of requests; which class an arrival has is drawn by weight."""

    name: Text
    """The name in figures and reports."""
    weight: PositiveNumber = 1.0
    """The share of this class is its weight by the sum of all weights."""
    json_: Any = Field(default=None, alias="json")
    """The body, sent as JSON. `{seq}` becomes the number of the request, `{rand}` a random one, `{key}` one of
    the load's `keys`, `{prompt}` a line of `prompts`; with a trace, `{context_tokens}` and `{generated_tokens}` its
    numbers (a string of nothing else becomes a number: `max_tokens: "{generated_tokens}"`), and `{context}` that many
    words as a stand-in for tokens."""
    body: Annotated[str, StringConstraints(strict=True, min_length=1)] | None = None
    """The body, sent as it stands but for the same placeholders."""
    prompts: LocalFile | None = None
    """A file with one prompt a line, relative to the experiment's; in place of the load's."""

    @model_validator(mode="after")
    def _has_one_body(self) -> Self:
        if {"json_", "body"} <= self.model_fields_set:
            raise ValueError("has both json and body; write one")
        return self

    @property
    def has_json(self) -> bool:
        """Whether the body is JSON."""
        return "json_" in self.model_fields_set

    def texts(self) -> Iterator[tuple[Path, str]]:
        """Yield every text in the body, with its path."""
        return _texts(self.json_, ("json",)) if self.has_json else _texts(self.body, ("body",))


class Slo(Spec):
    """When an answer is good."""

    latency: PositiveDuration | None = None
    """A good answer is complete within this time of the moment it was meant to be sent."""
    ttft: PositiveDuration | None = None
    """Time to first token: the first token that is not empty comes within this time of the intended send."""
    tpot: PositiveDuration | None = None
    """Time per output token: the tokens after the first come at this pace on the mean, or faster."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("limits nothing; give latency, or ttft and tpot for streams")
        return self


class Tls(Spec):
    """Whom an https endpoint is verified by, and what this client shows of itself. It is always verified."""

    ca: LocalFile | None = None
    """A file of authorities (PEM) in place of the system's."""
    certificate: LocalFile | None = None
    """This client's certificate (PEM), where the endpoint asks for one; the key may be in the same file."""
    key: LocalFile | None = None
    """The key of the certificate (PEM), without a passphrase."""

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if self.key and not self.certificate:
            raise ValueError("has a key and no certificate to go with it")
        return self


class Senders(Spec):
    """The machines that a load is sent from."""

    group: Text
    """The group of the inventory; each host needs chaos-gameday[distributed], in the Python its `python` names."""


class Load(Spec):
    """What is sent, how often, and what counts as good."""

    url: Annotated[Text, AfterValidator(check_template)]
    """Where to; `{name}` stands for a host of the inventory, or for the first host of a group."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """The method of HTTP."""
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    """Headers of every request. They are recorded: no secrets."""
    classes: Annotated[tuple[LoadClass, ...], NotEmpty] = (LoadClass(name="default"),)
    """The mix of requests."""
    arrivals: Arrivals
    """When requests are sent."""
    prompts: LocalFile | None = None
    """A file with one prompt a line, relative to the experiment's: they are shuffled and taken in turn."""
    keys: Annotated[Count, AfterValidator(_not_too_many)] | None = None
    """How many keys `{key}` in a body is drawn from, all alike but under a skew."""
    timeout: PositiveDuration = 10.0
    """A request without a complete answer by then is given up."""
    connect_timeout: PositiveDuration = 3.0
    """A connection that is not open by then (name, TCP and TLS together) is given up."""
    first_byte_timeout: PositiveDuration | None = None
    """A request of whose answer nothing has come by then is given up; only `timeout` counts without it."""
    response_limit: PositiveSize = 64 * 2**20
    """An answer longer than this, like "10MB", is cut off and counts as failed."""
    stream: bool = False
    """Whether answers are streamed chat completions (server-sent events), whose tokens are timed one by one."""
    http2: bool = False
    """Whether to speak HTTP/2 by httpx, which is slower, instead of HTTP/1.1."""
    unix_socket: LocalPath | None = None
    """The path of a socket to connect to; the URL's host is then only what the requests say."""
    tls: Tls | None = None
    """Certificates for https."""
    slo: Slo | None = None
    """When an answer is good; without it every answer of status 2xx or 3xx is."""
    connections: Count = 2048
    """The most connections open at once, over all processes."""
    processes: Count = 1
    """How many processes share the load, each with every n-th arrival and its share of the connections."""
    on: Senders | None = None
    """The machines that the processes run on, reached over SSH and joined by Dask; this one by default."""

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[LoadClass, ...]) -> tuple[LoadClass, ...]:
        names = [c.name for c in classes]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"two classes have the name {', '.join(twice)}")
        return classes

    @field_validator("slo")
    @classmethod
    def _is_reachable(cls, slo: Slo, info: ValidationInfo) -> Slo:
        timeout = info.data.get("timeout")
        if timeout and slo.latency is not None and slo.latency > timeout:
            given_up, late = show_seconds(timeout), show_seconds(slo.latency)
            raise ValueError(f"a request is given up after {given_up} (timeout), before it could be late at {late}")
        if (slo.ttft or slo.tpot) and not info.data.get("stream"):
            raise ValueError("ttft and tpot are of streamed answers; add stream: true to the load")
        return slo

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if self.processes > self.connections:
            raise ValueError(f"{self.processes} processes can't share {self.connections} connections; allow more")
        return self

    @model_validator(mode="after")
    def _means_its_body(self) -> Self:
        bodies = any(c.has_json or c.body for c in self.classes)
        if bodies and "method" not in self.model_fields_set:
            raise ValueError("the classes have bodies and no method is given; write method: POST")
        return self

    @property
    def has_tokens(self) -> bool:
        """Whether a body has token counts of a trace in it."""
        from probes.template import FROM_TRACE

        return self._fills({*FROM_TRACE})

    @property
    def drawn_keys(self) -> int | None:
        """How many keys requests are drawn about; None where no body has a key in it."""
        from probes.template import FROM_KEYS

        return self.keys if self._fills({*FROM_KEYS}) else None

    def _fills(self, names: Set[str]) -> bool:
        from probes.template import names_in

        return any(names & names_in(text) for kind in self.classes for _, text in kind.texts())

    def mistakes(self, duration: float) -> Iterator[tuple[Path, str]]:
        """Yield what a load of `duration` s would find wrong, each with the path it stands at."""
        from probes.errors import PlanError
        from probes.template import read_prompts, unfilled

        yield from ((("arrivals", *at), text) for at, text in self.arrivals.mistakes(duration))
        yield from _tls_mistakes(self.tls)
        files: dict[Path, str | None] = {("prompts",): self.prompts}
        for index, kind in enumerate(self.classes):
            files["classes", index, "prompts"] = kind.prompts
            prompts, trace = bool(kind.prompts or self.prompts), self.arrivals.process == "trace"
            for at, text in kind.texts():
                if why := unfilled(text, prompts=prompts, trace=trace, keys=self.keys is not None):
                    yield ("classes", index, *at), why
        for at, file in files.items():
            try:
                if file is not None:
                    read_prompts(file)
            except PlanError as error:
                yield at, str(error)


def _tls_mistakes(tls: Tls | None) -> Iterator[tuple[Path, str]]:
    from probes.endpoint import tls_context
    from probes.errors import PlanError

    try:
        if tls:
            tls_context(**tls.model_dump())
    except PlanError as error:
        what, _, text = str(error).partition(": ")
        yield ("tls", what), text


def _texts(value: Any, at: Path) -> Iterator[tuple[Path, str]]:
    """Yield every text in a body, keys too, with its path."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key), key
            yield from _texts(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*at, index))


def fill(url: str, authorities: Mapping[str, str]) -> str:
    """Return the URL with each {name} replaced. Raises KeyError for a name that is not there."""
    return _PLACEHOLDER.sub(lambda found: authorities[found[1]], url)


def placeholders(url: str) -> list[str]:
    """Return the names in a URL, in order."""
    return _PLACEHOLDER.findall(url)
