"""Kernel objects as tc(8) and ip(8) commands, and their answers as kernel objects. Pure: text in, values out.

Beside. An interface's own queueing is not touched. A clsact hook sees each packet before the root does: filters of
ours, the last there are, let the exempt flows go on and send the rest, or what is selected, to an ifb device of ours,
whose root is the impairment. What leaves the ifb goes on to the interface's own root, whatever that is (mq, fq, htb).

    eth0  clsact egress  ── 65533, 65534  the exempt flows ───────────────────────┐
                         └─ 65535  all the rest -> gameday2t0  root c4a6: netem ─ root of eth0 ─ wire

What comes in goes the same way from the ingress hook, and from the ifb to whoever receives. A packet meets one
impairment, that of the first filter that has it: from an ifb it does not come by a hook again.

The redirecting filter comes last and goes first, so the control path is never impaired, not even for a moment; and once
it is gone the packets that the impairment still holds are given time to leave.

Where there is no clsact yet, its coming and its going each cost packets: the kernel stops an interface to graft a
qdisc, be it one beside the root (qdisc_graft in net/sched/sch_api.c), drops what the root holds and, for some
milliseconds at most, what is sent. Where there is one already, nothing of that happens.

At the root, where a kernel can't do that (no ifb; an `ingress` qdisc, which excludes clsact). Where some flow must
pass, a `prio` root of ours stands between: its first band takes the exempt flows, the second holds the impairment.

    root  c4a5: prio  ── c4a5:1  the exempt flows          or       root  c4a6: netem
                      └─ c4a5:2  c4a6: netem

Where whoever sends is not to be told of what the impairment drops (kernels tell it of what a root qdisc refuses, some
also of what one on an ifb does, and then it takes the packet for one that was never sent), a netem that does nothing
stands above it: it has said that it took the packet before it hands it down.

    root  c4a6: netem  ── c4a7: tbf

Nothing but the device, these handles and these filters is ever deleted, and a clsact only if it was added and is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from shlex import quote
from textwrap import indent
from typing import Any

from chaos.contracts import PlantQdisc, Rendered, Staged, UprootQdisc
from chaos.kernel import HAS_IFB, NO_HANDLE, RDMA, ROOT, SCAFFOLD, AtRoot, Beside, Flow, Link, Option, Qdisc
from chaos.targets import _netem_text, _u32

TABLES = "/run/gameday/tables"
"""Where tc finds the distributions of a netem while it is made."""
_SHOWS_FILTER = "*' pref {} '*"
_SHOWS_OURS = "grep -Eq ' (c4a5|c4a6): '"
_SHOWS_OUR_ROOT = "grep -Eq ' (c4a5|c4a6): root'"
LOAD_IFB = "[ -e /sys/module/ifb ] || modprobe -q ifb numifbs=0 2>/dev/null || :"  # by itself it makes two devices


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
            undo = _uproot_beside(action, place)
        case AtRoot(former):
            undo = _uproot_root(action.interface, former)
    folder = _tables_of(action)
    return Rendered(f"{undo.do}\n{_without(folder)}", f"{undo.until} &&\n[ ! -e {folder} ]") if action.tables else undo


def _plant_beside(action: PlantQdisc, place: Beside) -> Rendered:
    device, ours = quote(action.interface), place.device
    links = [f"link add dev {ours} type ifb", f"link set dev {ours} addrgenmode none", f"link set dev {ours} up"]
    objects = [f"qdisc add dev {ours} {_made(qdisc)}" for qdisc in action.qdiscs()]
    objects += [f"qdisc replace dev {device} clsact"] if place.adds_clsact else []  # another of ours may have added it
    filters = {steer: f"filter add dev {device} {steer.hook} {_u32.words(steer)}" for steer in action.steers}
    objects += [line for steer, line in filters.items() if not steer.device]
    redirects = [line for steer, line in filters.items() if steer.device]
    loaded = f"{LOAD_IFB}\n{_batch('ip', links, ' &&')}"
    do = f"{loaded}\n{_with_tables(action, _batch('tc', [*objects, *redirects]))}"
    until = f"tc filter show dev {device} {place.hook} | grep -q ' device {ours})'"
    if _netem_text.tables(action.impairment.options):  # their files are there while it is made, and no longer
        ahead, first = f"{loaded}\n{_with_tables(action, _batch('tc', objects))}", ""
    else:
        ahead, first = f"{loaded}\n:", "\n".join(objects)
    return Rendered(do, until, Staged(ahead, "tc -batch -", first, "\n".join(redirects)))


def _uproot_beside(action: UprootQdisc, place: Beside) -> Rendered:
    device, ours = quote(action.interface), place.device
    delete = f"tc filter del dev {device} {place.hook} pref"
    v4, v6, last = place.preferences
    shown = f"shown=$(tc filter show dev {device} ingress && tc filter show dev {device} egress)"
    lines = [
        f"{delete} {last} protocol all 2>/dev/null",
        *[f"{delete} {number} protocol {protocol} 2>/dev/null" for number, protocol in ((v4, "ip"), (v6, "ipv6"))],
        *_drain(ours, action.patience),
    ]
    clean = [
        f"links=$(ip -o link) && case $links in *': {ours}: '*) false ;; esac",
        f"if ip link show dev {device} >/dev/null 2>&1; then {shown}; else shown=; fi",
        f"case $shown in {'|'.join(map(_SHOWS_FILTER.format, place.preferences))}) false ;; esac",
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
        root, *below = action.qdiscs()
        lines = [f"tc qdisc {verb} dev {device} {_made(root)}"]
    else:
        bands = "prio bands 2 priomap " + " ".join(["1"] * 16)
        lines = [f"tc qdisc {verb} dev {device} root handle {SCAFFOLD} {bands}"]
        lines += [
            f"tc filter add dev {device} parent {SCAFFOLD} {_match(flow)} flowid {SCAFFOLD}1" for flow in action.exempt
        ]
        below = [*action.qdiscs(f"{SCAFFOLD}2")]
    lines += [f"tc qdisc add dev {device} {_made(qdisc)}" for qdisc in below]
    return Rendered(_with_tables(action, " &&\n".join(lines)), f"tc qdisc show dev {device} | {_SHOWS_OURS}")


def _made(qdisc: Qdisc) -> str:
    """Return the arguments that make a qdisc in its place."""
    place = ROOT if qdisc.parent == ROOT else f"parent {qdisc.parent}"
    return f"{place} handle {qdisc.handle} {_words(qdisc)}"


def _uproot_root(interface: str, former: Qdisc | None) -> Rendered:
    device = quote(interface)
    clean = f"! tc qdisc show dev {device} | {_SHOWS_OURS}"
    if former is None:
        undo = f"tc qdisc del dev {device} root"
    else:
        undo = f"tc qdisc replace dev {device} root handle {former.handle} {_words(former)}"
        clean += f" && tc qdisc show dev {device} | grep -q '^qdisc {former.kind} {former.handle} root'"
    return Rendered(f"if tc qdisc show dev {device} | {_SHOWS_OUR_ROOT}; then {undo}; fi", clean)


def _with_tables(action: PlantQdisc, made: str) -> str:
    """Have tc find the distributions that a qdisc names while it is made; their folder is gone once it is."""
    tables = _netem_text.tables(action.impairment.options)
    if not tables:
        return made
    folder = _tables_of(action)
    files = "".join(f"cat >{folder}/{name}.dist <<'END' &&\n{_lines(table)}\nEND\n" for name, table in tables.items())
    return (
        f"umask 077 && mkdir -p {folder} &&\n{files}export TC_LIB_DIR={folder} &&\n{made}\n"
        f"status=$?; {_without(folder)}; (exit $status)"
    )


def _tables_of(action: PlantQdisc | UprootQdisc) -> str:
    return quote(f"{TABLES}/{action.interface}.{getattr(action.place, 'device', 'root')}")


def _without(folder: str) -> str:
    return f"rm -rf {folder}; rmdir {TABLES} 2>/dev/null || :"


def _lines(table: tuple[int, ...]) -> str:
    return "\n".join(" ".join(map(str, table[at : at + 16])) for at in range(0, len(table), 16))


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


def tbf_words(options: Mapping[str, Option]) -> list[str]:
    """Return the arguments of `tbf` for options in SI, as tc-tbf(8) has them."""
    rate, burst, limit = (round(float(options[name])) for name in ("rate", "burst", "limit"))
    return ["rate", f"{rate * 8}bit", "burst", str(burst), "limit", str(limit)]


_WORDS: dict[str, Callable[[Mapping[str, Option]], list[str]]] = {"netem": _netem_text.words, "tbf": tbf_words}


# --- reading ----------------------------------------------------------------------------------------------------------


def link_script(interface: str, has_ifb: bool | None = None) -> str:
    """Return the sh that prints all of an interface that `parse_link` reads; it only looks.

    Whether the kernel can make an ifb is dear to find out where it is built in; who knows it already says so.
    """
    ifb = f"{HAS_IFB} && ifb=1" if has_ifb is None else f"ifb={int(has_ifb)}"
    device = quote(interface)
    # where there are hooks, a line about their qdisc parts the filters of the two
    asks = [f"filter show dev {device} ingress", f"qdisc show dev {device} clsact", f"filter show dev {device} egress"]
    asks += [f"filter show dev {device}", f"class show dev {device}"]
    return f"""qdiscs() {{
    json=$(tc -s -j qdisc show dev "$1" 2>&1) || case $json in
        *'Cannot find device'*) json=absent ;; *) echo "$json" >&2; exit 1 ;;
    esac
}}
qdiscs {device}; [ "$json" != absent ] || {{ echo absent; exit 0; }}
rest=$json index=$(ip -o link show dev {device}) || exit 1
index=${{index%%:*}} ifb=0 speed=-1
{ifb}
{{ read -r seen </sys/class/net/{device}/speed && speed=$seen; }} 2>/dev/null  # it may be there and not be read
rdma=; [ ! -e /sys/class/infiniband ] || rdma=$(
    {indent(RDMA, "    ").lstrip()} | while read -r name on; do [ "$name" != {device} ] || printf ' %s' "$on"; done
)
printf '%s\n--json\n%s\n--ours\n' "$speed $index $ifb$rdma" "$json"
beside=$(printf 'gameday%x' "$index")
ip -o link show type ifb | while read -r _ ours _; do
    ours=${{ours%%[:@]*}}
    case $ours in "$beside"[tk]*) ;; *) continue ;; esac
    qdiscs "$ours"
    [ "$json" = absent ] || printf '%s %s\n' "$ours" "$json"
done
echo --filters
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
    speed, index, ifb, *rdma = head.split()
    hooks = _hooks(shown)
    # `tc filter show` of a classful root prints the filters of each attach point; an absent one prints nothing
    lines = [line for line in shown.splitlines() if not line.startswith((*_MADE_BY_TRAFFIC, "qdisc "))]
    return Link(
        interface,
        exists=True,
        qdiscs=_qdiscs(as_json),
        filters=tuple(line for line in lines if not line.startswith("class ")),
        bits_per_second=_speed(speed),
        classes=tuple(line for line in lines if line.startswith("class ")),
        ours={name: _qdiscs(text) for name, _, text in (line.partition(" ") for line in ours.splitlines()) if text},
        steers=tuple(steer for hook, held in hooks.items() for steer in _u32.printed(hook, held)),
        index=int(index),
        has_ifb=ifb == "1",
        rdma=tuple(rdma),
    )


def _hooks(shown: str) -> dict[str, list[str]]:
    """Return the lines of each hook, those of the root among the latter's: they name their parent."""
    lines = shown.splitlines()
    parting = next((at for at, line in enumerate(lines) if line.startswith("qdisc ")), len(lines))
    return {"ingress": lines[:parting], "egress": lines[parting:]}


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


def tbf_options(seen: Mapping[str, Any]) -> dict[str, Option]:
    """Return what `tc -j` prints of a tbf, in SI; tc tells the limit in bytes as the time (µs) a packet may wait."""
    rate, burst = int(seen["rate"]), int(seen["burst"])
    limit = int(seen["limit"]) if "limit" in seen else round(burst + rate * float(seen.get("lat", 0)) / 1e6)
    return {"rate": rate, "burst": burst, "limit": limit}


_OPTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Option]]] = {
    "netem": _netem_text.options,
    "tbf": tbf_options,
}
