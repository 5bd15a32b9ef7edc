"""Kernel objects as tc(8) and ip(8) commands, and their answers as kernel objects. Pure: text in, values out.

Beside. An interface's own queueing is not touched. A clsact hook sees each packet before the root does: filters of
ours, the last there are, let the exempt flows go on and send the rest to an ifb device of ours, whose root is the
impairment. What leaves the ifb goes on to the interface's own root, whatever that is (mq, fq, htb with its classes).

    eth0  clsact egress  ── 65533, 65534  the exempt flows ──────────────────────┐
                         └─ 65535  all the rest -> gameday2  root c4a6: netem ─ root of eth0 ─ wire

The redirecting filter comes last and goes first, so the control path is never impaired, not even for a moment; and once
it is gone the packets that the impairment still holds are given time to leave.

Where there is no clsact yet, its coming and its going each cost packets: the kernel stops an interface to graft a
qdisc, be it one beside the root (qdisc_graft in net/sched/sch_api.c), drops what the root holds and, for some
milliseconds at most, what is sent. Where there is one already, nothing of that happens.

At the root, where a kernel can't do that (no ifb; an `ingress` qdisc, which excludes clsact). Where some flow must
pass, a `prio` root of ours stands between: its first band takes the exempt flows, the second holds the impairment.

    root  c4a5: prio  ── c4a5:1  the exempt flows          or       root  c4a6: netem
                      └─ c4a5:2  c4a6: netem

Nothing but the device, these handles and these filters is ever deleted, and a clsact only if it was added and is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from shlex import quote
from typing import Any

from chaos.contracts import PlantQdisc, Rendered, Staged, UprootQdisc
from chaos.kernel import HAS_IFB, NO_HANDLE, ROOT, AtRoot, Beside, Flow, Link, Option, Qdisc

SCAFFOLD = "c4a5:"
IMPAIRMENT = "c4a6:"
OURS = (SCAFFOLD, IMPAIRMENT)
PREFERENCES = {"ip": 65533, "ipv6": 65534}  # of the exempt flows; after whatever somebody else has in the hook
REDIRECT = 65535
_SHOWS_OUR_FILTERS = "|".join(f"*' pref {number} '*" for number in (*PREFERENCES.values(), REDIRECT))
_SHOWS_OURS = "grep -Eq ' (c4a5|c4a6): '"
_SHOWS_OUR_ROOT = "grep -Eq ' (c4a5|c4a6): root'"
LOAD_IFB = "[ -e /sys/module/ifb ] || modprobe -q ifb numifbs=0 2>/dev/null || :"  # by itself it makes two devices


def device_beside(index: int) -> str:
    """Return the name of our device beside the interface of this index: at most 15 characters, as the kernel wants."""
    return f"gameday{index:x}"


# --- making -----------------------------------------------------------------------------------------------------------


def plant(action: PlantQdisc) -> Rendered:
    """Render the planting of an impairment as sh: every command must succeed or the rest is not tried."""
    match action.place:
        case Beside() as place:
            return _plant_beside(action, place)
        case AtRoot(former):
            return _plant_root(action, former)


def uproot(action: UprootQdisc) -> Rendered:
    """Render the undo as sh. It may run at any time, as often as one likes: it acts only on what is ours."""
    match action.place:
        case Beside() as place:
            return _uproot_beside(action, place)
        case AtRoot(former):
            return _uproot_root(action.interface, former)


def _plant_beside(action: PlantQdisc, place: Beside) -> Rendered:
    device, ours = quote(action.interface), place.device
    links = [f"link add dev {ours} type ifb", f"link set dev {ours} addrgenmode none", f"link set dev {ours} up"]
    objects = [f"qdisc add dev {ours} root handle {IMPAIRMENT} {_words(action.impairment)}"]
    objects += [f"qdisc add dev {device} clsact"] if place.adds_clsact else []
    egress = f"filter add dev {device} egress pref"
    objects += [f"{egress} {PREFERENCES[_protocol(flow)]} {_match(flow)} flowid :1" for flow in action.exempt]
    redirect = f"{egress} {REDIRECT} protocol all u32 match u32 0 0 action mirred egress redirect dev {ours}"
    loaded = f"{LOAD_IFB}\n{_batch('ip', links, ' &&')}"
    do, ahead = (f"{loaded}\n{_batch('tc', lines)}" for lines in ([*objects, redirect], objects))
    until = f"tc filter show dev {device} egress | grep -q ' pref {REDIRECT} '"
    return Rendered(do, until, Staged(ahead, "tc -batch -", redirect))


def _uproot_beside(action: UprootQdisc, place: Beside) -> Rendered:
    device, ours = quote(action.interface), place.device
    egress = f"tc filter del dev {device} egress pref"
    shown = f"shown=$(tc filter show dev {device} ingress && tc filter show dev {device} egress)"
    lines = [
        f"{egress} {REDIRECT} protocol all 2>/dev/null",
        *_drain(ours, action.patience),
        f"{egress} {PREFERENCES['ip']} protocol ip 2>/dev/null",
        f"{egress} {PREFERENCES['ipv6']} protocol ipv6 2>/dev/null",
    ]
    clean = [
        f"links=$(ip -o link) && case $links in *': {ours}: '*) false ;; esac",
        f"if ip link show dev {device} >/dev/null 2>&1; then {shown}; else shown=; fi",
        f"case $shown in {_SHOWS_OUR_FILTERS}) false ;; esac",
    ]
    if place.adds_clsact:
        lines += [f'if {shown} 2>/dev/null && [ -z "$shown" ]; then tc qdisc del dev {device} clsact 2>/dev/null; fi']
        clean += [f'{{ [ -n "$shown" ] || ! tc qdisc show dev {device} 2>/dev/null | grep -q "^qdisc clsact "; }}']
    return Rendered("\n".join([*lines, ":"]), " &&\n".join(clean))


def _drain(ours: str, patience: float) -> list[str]:
    """Let what our device still holds leave it; then take it away and print how many packets went with it.

    Naps first: another processor may have met the redirect before it went, and hold a packet that is not queued yet.
    Then the qdisc must be empty and the ifb have handed on (tx) what it got (rx) but what it dropped itself.
    """
    counters = f"/sys/class/net/{ours}/statistics"
    return [
        f"if left=$(tc -s qdisc show dev {ours} 2>/dev/null); then",
        f"for i in {' '.join(map(str, range(max(1, round(patience * 10)) + 1)))}; do",
        "    sleep 0.1 2>/dev/null || sleep 1",
        f"    left=$(tc -s qdisc show dev {ours} 2>/dev/null) came=0 went=0 lost=0",
        "    case $left in *' backlog 0b 0p '*) ;; *) continue ;; esac",
        f"    {{ read -r came <{counters}/rx_packets && read -r went <{counters}/tx_packets &&"
        f" read -r lost <{counters}/rx_dropped; }} 2>/dev/null",
        "    [ $((went + lost)) -lt $((came)) ] || break",
        "done",
        f'left=${{left##* backlog }} left=${{left#* }}; echo "{ours}: ${{left%%p *}} packets dropped by letting go"',
        f"ip link del dev {ours}",
        "fi",
    ]


def _plant_root(action: PlantQdisc, former: Qdisc | None) -> Rendered:
    device = quote(action.interface)
    verb = "replace" if former else "add"
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


def _uproot_root(interface: str, former: Qdisc | None) -> Rendered:
    device = quote(interface)
    clean = f"! tc qdisc show dev {device} | {_SHOWS_OURS}"
    if former is None:
        undo = f"tc qdisc del dev {device} root"
    else:
        undo = f"tc qdisc replace dev {device} root handle {former.handle} {_words(former)}"
        clean += f" && tc qdisc show dev {device} | grep -q '^qdisc {former.kind} {former.handle} root'"
    return Rendered(f"if tc qdisc show dev {device} | {_SHOWS_OUR_ROOT}; then {undo}; fi", clean)


def _batch(program: str, lines: list[str], then: str = "") -> str:
    """Return sh that has one process do it all, and stop at what fails."""
    return "\n".join([f"{program} -batch - <<'END'{then}", *lines, "END"])


def _protocol(flow: Flow) -> str:
    return "ip" if isinstance(flow.peer, IPv4Address) else "ipv6"


def _match(flow: Flow) -> str:
    protocol = _protocol(flow)
    family, bits = ("ip", 32) if protocol == "ip" else ("ip6", 128)
    tcp = f"match {family} protocol 6 0xff"
    return (
        f"protocol {protocol} u32 {tcp} match {family} sport {flow.port} 0xffff match {family} dst {flow.peer}/{bits}"
    )


def _words(qdisc: Qdisc) -> str:
    words = _WORDS[qdisc.kind](qdisc.options) if qdisc.kind in _WORDS else qdisc.words
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


def tbf_words(options: Mapping[str, Option]) -> list[str]:
    """Return the arguments of `tbf` for options in SI, as tc-tbf(8) has them."""
    rate, burst, limit = (round(float(options[name])) for name in ("rate", "burst", "limit"))
    return ["rate", f"{rate * 8}bit", "burst", str(burst), "limit", str(limit)]


_WORDS: dict[str, Callable[[Mapping[str, Option]], list[str]]] = {"netem": netem_words, "tbf": tbf_words}


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
    asks = [f"filter show dev {device}{point}" for point in ("", " ingress", " egress")] + [f"class show dev {device}"]
    return f"""qdiscs() {{
    json=$(tc -s -j qdisc show dev "$1" 2>&1) || case $json in
        *'Cannot find device'*) json=absent ;; *) echo "$json" >&2; exit 1 ;;
    esac
}}
qdiscs {device}; [ "$json" != absent ] || {{ echo absent; exit 0; }}
rest=$json index=$(ip -o link show dev {device}) || exit 1
index=${{index%%:*}} ifb=0 speed=-1
{HAS_IFB} && ifb=1
{{ read -r seen </sys/class/net/{device}/speed && speed=$seen; }} 2>/dev/null  # it may be there and not be read
printf '%s\n--json\n%s\n--ours\n' "$speed $index $ifb" "$json"
qdiscs "$(printf 'gameday%x' "$index")"
printf '%s\n--filters\n' "$json"
{{
    printf '%s\n' {" ".join(map(quote, asks))}
    while case $rest in *'"handle":"'*) ;; *) false ;; esac; do
        rest=${{rest#*'"handle":"'}} handle=${{rest%%'"'*}}
        [ "$handle" = 0: ] || printf '%s%s\n' {quote(f"filter show dev {device} parent ")} "$handle"
    done
}} | tc -batch -
"""


def parse_link(interface: str, printed: str) -> Link:
    """Return the interface that `link_script` printed."""
    if printed.startswith("absent"):
        return Link(interface, exists=False)
    head, rest = printed.split("\n--json\n", 1)
    as_json, rest = rest.split("\n--ours\n", 1)
    ours, shown = rest.split("--filters\n", 1)
    speed, index, ifb = head.split()
    # `tc filter show` of a classful root prints the filters of each attach point; an absent one prints nothing
    lines = [line for line in shown.splitlines() if not line.startswith(_MADE_BY_TRAFFIC)]
    return Link(
        interface,
        exists=True,
        qdiscs=_qdiscs(as_json),
        filters=tuple(line for line in lines if not line.startswith("class ")),
        bits_per_second=_speed(speed),
        classes=tuple(line for line in lines if line.startswith("class ")),
        ours=None if ours.strip() == "absent" else _qdiscs(ours),
        index=int(index),
        has_ifb=ifb == "1",
    )


_MADE_BY_TRAFFIC = ("class fq_codel ", "class sfq ", "class cake ")  # a class for each flow just now


def _qdiscs(as_json: str) -> tuple[Qdisc, ...]:
    return tuple(_qdisc(q) for q in json.loads(as_json.strip() or "[]"))


def _speed(megabits: str) -> float | None:
    return float(megabits) * 1e6 if megabits.isdigit() and int(megabits) > 0 else None


def _qdisc(seen: dict[str, Any]) -> Qdisc:
    options = seen.get("options", {})
    return Qdisc(
        kind=seen["kind"],
        handle=seen.get("handle", NO_HANDLE),
        parent=ROOT if seen.get("root") else str(seen.get("parent", "")),
        options=_OPTIONS.get(seen["kind"], _flat)(options),
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
        k: v if isinstance(v, (int, float, str, bool)) else json.dumps(v, sort_keys=True)
        for k, v in options.items()
        if k != "direct_packets_stat"  # a counter that htb prints as an option
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


def tbf_options(seen: Mapping[str, Any]) -> dict[str, Option]:
    """Return what `tc -j` prints of a tbf, in SI; tc tells the limit in bytes as the time (µs) a packet may wait."""
    rate, burst = int(seen["rate"]), int(seen["burst"])
    limit = int(seen["limit"]) if "limit" in seen else round(burst + rate * float(seen.get("lat", 0)) / 1e6)
    return {"rate": rate, "burst": burst, "limit": limit}


_OPTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Option]]] = {"netem": netem_options, "tbf": tbf_options}
