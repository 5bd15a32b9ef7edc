"""A class of requests as bytes: everything that can be encoded before the load starts is.

Takes a plan and one of its classes; gives a function from the arrival's number to the bytes to send. A body without
placeholders is encoded once, and the function returns that very object each time. With placeholders (`template` says
which there are), the parts between them are; only their values and the Content-Length are made per request.
"""

from __future__ import annotations

from collections.abc import Callable

from probes.keys import KeyLaw, key_of
from probes.plan import LoadPlan, RequestClass
from probes.template import (
    Fill,
    context_fill,
    key_fill,
    number_fill,
    parts_of,
    prompt_fill,
    rand_fill,
    read_prompts,
    seq_fill,
)
from probes.trace import Replay, TokenCounts
from probes.url import Url

Encoder = Callable[[int], bytes]
_WITH_BODY = {"POST", "PUT", "PATCH"}  # these say Content-Length: 0 when they have none (RFC 9110, section 8.6)


def forms(plan: LoadPlan) -> list[Encoder]:
    """Return the encoder of each form: of each class, and again for each overlay by which keys are drawn otherwise."""
    laws = [None, *(overlay.keys for overlay in plan.overlays if overlay.keys)]
    return [encoder(plan, kind, law) for law in laws for kind in plan.classes]


def encoder(plan: LoadPlan, kind: RequestClass, law: KeyLaw | None = None) -> Encoder:
    """Return a function from an arrival's number to its request, head and body; `law` is that of its keys.

    Raises PlanError for a trace or a file of prompts that is wrong. Quickest where the numbers come in order.
    """
    head = _head(plan)
    if kind.body is None:
        return _always(head + (b"Content-Length: 0\r\n\r\n" if plan.method in _WITH_BODY else b"\r\n"))
    parts = parts_of(kind.body, is_json=kind.is_json)
    if len(parts) == 1:
        body = kind.body.encode()
        return _always(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
    return _templated(head + b"Content-Length: ", parts, _fills(plan, kind, set(parts[1::2]), law))


def _head(plan: LoadPlan) -> bytes:
    """Return the request line and the header fields; the plan's own win over the defaults."""
    url = Url.parse(plan.url)
    given = {name.lower() for name in plan.headers}
    defaults = {"Host": url.authority, "Accept": "*/*", "User-Agent": "gameday-probes"}
    chosen = {name: value for name, value in defaults.items() if name.lower() not in given} | dict(plan.headers)
    lines = [f"{plan.method} {url.target} HTTP/1.1", *(f"{name}: {value}" for name, value in chosen.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")


def _always(data: bytes) -> Encoder:
    return lambda _seq: data


def _templated(head: bytes, parts: list[str], fills: dict[str, Fill]) -> Encoder:
    """Return an encoder that joins fixed parts with the values between them (every second part is a placeholder)."""
    fixed = [part.encode() for part in parts]
    holes = tuple((index, fills[parts[index]]) for index in range(1, len(parts), 2))

    def encode(seq: int) -> bytes:
        filled = fixed.copy()
        for index, fill in holes:
            filled[index] = fill(seq)
        body = b"".join(filled)
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)

    return encode


def _fills(plan: LoadPlan, kind: RequestClass, names: set[str], law: KeyLaw | None) -> dict[str, Fill]:
    """Return what fills each of the placeholders; the files are read that these need, and no others."""
    fills = {"seq": seq_fill(), "rand": rand_fill(plan.seed)}
    if "key" in names and plan.keys is not None:
        fills["key"] = key_fill(key_of(plan.keys, law, plan.seed))
    if "prompt" in names and kind.prompts is not None:
        fills["prompt"] = prompt_fill(read_prompts(kind.prompts), plan.seed, is_json=kind.is_json)
    if names - fills.keys() and plan.trace is not None:
        counts = TokenCounts(Replay.of(plan.trace, plan.fit, plan.rate, plan.duration, plan.seed))
        fills["context_tokens"], fills["generated_tokens"] = number_fill(counts, 0), number_fill(counts, 1)
        fills["context"] = context_fill(counts, plan.seed)
    return fills
