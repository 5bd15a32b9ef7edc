"""Kernel objects as tc(8) commands, and tc's answers as kernel objects. Pure: text in, values out, and back.

Our tree. Where some flow must pass beside the impairment (the controller's own SSH), a `prio` root of ours stands
between: its first band takes the exempt flows by u32 filters, everything else goes to the second, which holds the
impairment. Filters are in place before the impairment is, so the control path is never impaired, not even for a
moment. Where no flow is exempt the impairment is the root itself.

    root  c4a5: prio  ── c4a5:1  the exempt flows          or       root  c4a6: netem
                      └─ c4a5:2  c4a6: netem

Nothing but these two handles is ever deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from shlex import quote
from typing import Any

from chaos.contracts import PlantQdisc, Rendered, UprootQdisc
from chaos.kernel import NO_HANDLE, ROOT, Flow, Link, Option, Qdisc

SCAFFOLD = "c4a5:"
IMPAIRMENT = "c4a6:"
OURS = (SCAFFOLD, IMPAIRMENT)
_SHOWS_OURS = "grep -Eq ' (c4a5|c4a6): '"
_SHOWS_OUR_ROOT = "grep -Eq ' (c4a5|c4a6): root'"


# --- making -----------------------------------------------------------------------------------------------------------


def plant(action: PlantQdisc) -> Rendered:
    """Render the planting of an impairment as sh: every command must succeed or the rest is not tried."""
    device = quote(action.interface)
    verb = "replace" if action.replaces else "add"
    if not action.exempt:
        lines = [f"tc qdisc {verb} dev {device} root handle {IMPAIRMENT} {_words(action.impairment)}"]
    else:
        bands = "prio bands 2 priomap " + " ".join(["1"] * 16)
        lines = [f"tc qdisc {verb} dev {device} root handle {SCAFFOLD} {bands}"]
        lines += [
            f"tc filter add dev {device} parent {SCAFFOLD} {_match(flow)} flowid {SCAFFOLD}1" for flow in action.exempt
        ]
        lines += [f"tc qdisc add dev {device} parent {SCAFFOLD}2 handle {IMPAIRMENT} {_words(action.impairment)}"]
    return Rendered(" &&\n".join(lines), f"tc qdisc show dev {device} | {_SHOWS_OURS}")


def uproot(action: UprootQdisc) -> Rendered:
    """Render the undo as sh. It may run at any time, as often as one likes: it acts only while the root is ours."""
    device, former = quote(action.interface), action.restore
    clean = f"! tc qdisc show dev {device} | {_SHOWS_OURS}"
    if former is None:
        undo = f"tc qdisc del dev {device} root"
    else:
        undo = f"tc qdisc replace dev {device} root handle {former.handle} {_words(former)}"
        clean += f" && tc qdisc show dev {device} | grep -q '^qdisc {former.kind} {former.handle} root'"
    return Rendered(f"if tc qdisc show dev {device} | {_SHOWS_OUR_ROOT}; then {undo}; fi", clean)


def _match(flow: Flow) -> str:
    protocol, family, bits = ("ip", "ip", 32) if isinstance(flow.peer, IPv4Address) else ("ipv6", "ip6", 128)
    tcp = f"match {family} protocol 6 0xff"
    return (
        f"protocol {protocol} u32 {tcp} match {family} sport {flow.port} 0xffff match {family} dst {flow.peer}/{bits}"
    )


def _words(qdisc: Qdisc) -> str:
    words = netem_words(qdisc.options) if qdisc.kind == "netem" else qdisc.words
    return " ".join(quote(word) for word in (qdisc.kind, *(words or ())))


def netem_words(options: Mapping[str, Option]) -> list[str]:
    """Return the arguments of `netem` for options in SI, in the order tc-netem(8) gives them."""
    get = {key: float(value) for key, value in options.items()}.get
    words = ["limit", str(int(get("limit", 1000)))]
    if get("delay", 0) or get("jitter", 0):
        words += [
            "delay",
            _time(get("delay", 0)),
            *_tail(_time, get("jitter", 0)),
            *_tail(_percent, get("delay_correlation", 0)),
        ]
    if get("duplicate_correlation", 0):  # tc 6.1 leaves it out unless loss or delay has a correlation, be it of 0
        words += ["loss", "random", _percent(get("loss", 0)), _percent(get("loss_correlation", 0))]
    elif get("loss", 0):
        words += ["loss", "random", _percent(get("loss", 0)), *_tail(_percent, get("loss_correlation", 0))]
    for name in ("duplicate", "corrupt", "reorder"):
        if get(name, 0):
            words += [name, _percent(get(name, 0)), *_tail(_percent, get(f"{name}_correlation", 0))]
    if get("gap", 0):
        words += ["gap", str(int(get("gap", 0)))]
    if get("rate", 0):
        words += ["rate", f"{round(get('rate', 0) * 8)}bit"]
    return words


def _tail(show: Any, value: float) -> list[str]:
    return [show(value)] if value else []


def _time(value: float) -> str:
    # q_netem of iproute2 6.1 counts in whole µs and calls "ns" illegal
    return f"{round(value * 1e6)}us"


def _percent(value: float) -> str:
    return f"{value * 100:.9f}".rstrip("0").rstrip(".") + "%"


# --- reading ----------------------------------------------------------------------------------------------------------


def link_script(interface: str) -> str:
    """Return the sh that prints all of an interface that `parse_link` reads; it only looks."""
    device = quote(interface)
    filters = "\n".join(f"filter show dev {device}{point}" for point in ("", " ingress", " egress"))
    return f"""json=$(tc -s -j qdisc show dev {device} 2>&1) || case $json in
    *'Cannot find device'*) echo absent; exit 0;; *) echo "$json" >&2; exit 1;;
esac
speed=-1; ! [ -r /sys/class/net/{device}/speed ] || read -r speed 2>/dev/null </sys/class/net/{device}/speed
printf '%s\n--json\n%s\n--filters\n' "$speed" "$json"
tc -batch - <<'END'
{filters}
END
"""


def parse_link(interface: str, printed: str) -> Link:
    """Return the interface that `link_script` printed."""
    if printed.startswith("absent"):
        return Link(interface, exists=False)
    speed, rest = printed.split("\n--json\n", 1)
    as_json, filters = rest.split("--filters\n", 1)
    qdiscs = tuple(_qdisc(q) for q in json.loads(as_json.strip() or "[]"))
    # `tc filter show` of a classful root prints the filters of each attach point; an absent one prints nothing
    return Link(interface, True, qdiscs, tuple(filters.splitlines()), _speed(speed))


def _speed(megabits: str) -> float | None:
    return float(megabits) * 1e6 if megabits.isdigit() and int(megabits) > 0 else None


def _qdisc(seen: dict[str, Any]) -> Qdisc:
    options = seen.get("options", {})
    return Qdisc(
        kind=seen["kind"],
        handle=seen.get("handle", NO_HANDLE),
        parent=ROOT if seen.get("root") else str(seen.get("parent", "")),
        options=netem_options(options) if seen["kind"] == "netem" else _flat(options),
        words=words_again(seen["kind"], options),
        packets=int(seen.get("packets", 0)),
        dropped=int(seen.get("drops", 0)),
    )


def words_again(kind: str, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the arguments that make a qdisc again as it was printed in JSON; None where they can't be told.

    The plain text rounds (a rate to kbit, a time to three digits) and is no input of tc's for every kind.
    """
    if kind == "pfifo_fast":
        return ()  # it has options to print and none to take
    spell = _SPELL.get(kind)
    if spell is None or not options.keys() <= spell.keys():
        return None
    words = [word for name, value in options.items() for word in spell[name](name, value)]
    return (*words, "noecn") if kind == "fq_codel" and "ecn" not in options else tuple(words)


def _unit(unit: str, more: int = 0) -> Callable[[str, Any], tuple[str, ...]]:
    return lambda name, value: (name, f"{value + more}{unit}")


def _flag(name: str, value: Any) -> tuple[str, ...]:
    del value
    return (name,)


_CODEL_TIME = _unit("us", 1)  # kept in units of 1.024 µs and printed rounded down: one more makes the same again
_SPELL: dict[str, dict[str, Callable[[str, Any], tuple[str, ...]]]] = {
    "pfifo": {"limit": _unit("")},
    "bfifo": {"limit": _unit("")},
    "fq": dict.fromkeys(("limit", "flow_limit", "buckets", "orphan_mask", "quantum", "initial_quantum"), _unit(""))
    | dict.fromkeys(("maxrate", "low_rate_threshold"), _unit("bps"))
    | dict.fromkeys(("refill_delay", "horizon"), _unit("us"))
    | {"timer_slack": _unit("ns"), "horizon_drop": _flag, "horizon_cap": _flag},
    "fq_codel": dict.fromkeys(("limit", "flows", "quantum", "memory_limit", "drop_batch"), _unit(""))
    | dict.fromkeys(("target", "interval", "ce_threshold"), _CODEL_TIME)
    | {"ecn": _flag},
    "sfq": dict.fromkeys(("limit", "quantum", "depth", "divisor", "perturb"), _unit("")) | {"headdrop": _flag},
}


def _flat(options: Mapping[str, Any]) -> dict[str, Option]:
    """Keep the options of a kind that is not ours comparable: nested ones as their JSON."""
    return {
        k: v if isinstance(v, (int, float, str, bool)) else json.dumps(v, sort_keys=True) for k, v in options.items()
    }


def netem_options(seen: Mapping[str, Any]) -> dict[str, Option]:
    """Return what `tc -j` prints of a netem, under our names and in SI; what is off is left out."""
    found: dict[str, Option] = {"limit": seen.get("limit", 0), "gap": seen.get("gap", 0)}
    delay = seen.get("delay", {})
    found |= {"delay": delay.get("delay", 0), "jitter": delay.get("jitter", 0)}
    found["delay_correlation"] = delay.get("correlation", 0)
    for name, key in (
        ("loss", "loss-random"),
        ("duplicate", "duplicate"),
        ("corrupt", "corrupt"),
        ("reorder", "reorder"),
    ):
        part = seen.get(key, {})
        found |= {name: part.get(name, 0), f"{name}_correlation": part.get("correlation", 0)}
    found["rate"] = seen.get("rate", {}).get("rate", 0)
    return {key: value for key, value in found.items() if value}
