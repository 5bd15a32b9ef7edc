"""What a qdisc of ours does to packets on a real kernel, measured by the packets.

In a VM host a veth joins the host (data0) to a network namespace of its own (far). Numbered datagrams go through; each
carries the time at which it was sent, and one clock stamps both ends. Egress goes from data0 to far, and is stamped by
the kernel as it arrives; ingress goes from far to data0, and is stamped by the program that receives.

A VM in software emulation stands still now and then, when the machine has other things to do. A watch within it sees
that it slept for longer than it wanted to: datagrams that were sent or came then do not count as delays, and a rate is
that of the longest stretch without one.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import Any

from chaos import catalog, delay_tables
from chaos.contracts import Target
from chaos.faults._qdisc import Impairment
from chaos.run.injector import read

_UP = """
ip netns add far && ip link add data0 type veth peer name data1 && ip link set data1 netns far || exit 1
for at in 'data0 192.0.2.1' 'data1 192.0.2.2'; do
    set -- $at; [ $1 = data0 ] && in= || in='ip netns exec far'
    $in ip link set $1 addrgenmode none; $in ip link set $1 address 02:00:00:00:00:0${2##*.} up
    $in ip address add $2/24 dev $1
done
ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev data0 nud permanent
ip netns exec far ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev data1 nud permanent
"""

_PROGRAM = r"""
import bisect, ctypes, json, os, socket, struct, sys, threading, time
from statistics import median, quantiles
leaves, count, size, gap, quiet = json.loads(sys.argv[1])
NO_CHECK, STAMP, HEAD = 11, 35, struct.Struct("=qq")
def in_far():
    with open("/run/netns/far") as space:
        assert not ctypes.CDLL(None).setns(space.fileno(), 0x40000000)
def bound(address):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)  # SO_RCVBUFFORCE
    made.setsockopt(socket.SOL_SOCKET, 32, 1 << 26)  # SO_SNDBUFFORCE
    made.setsockopt(socket.SOL_SOCKET, STAMP, 1)
    made.bind((address, 9999))
    return made
here = bound("192.0.2.1")
in_far()
there = bound("192.0.2.2")
source, sink = (here, there) if leaves else (there, here)
padding, got = bytes(range(256)) * 6, []
padding = padding[: size - HEAD.size]
def receive():
    sink.settimeout(quiet)
    try:
        while True:
            data, extra, _, _ = sink.recvmsg(2048, 64)
            now = time.time_ns()
            if leaves:
                seconds, nanos = struct.unpack("=qq", extra[0][2])
                now = seconds * 10**9 + nanos
            number, sent = HEAD.unpack_from(data)
            got.append((number, sent, now, data[HEAD.size:] == padding and 0 <= number < count))
    except TimeoutError:
        pass
running, stalls = True, []
sys.setswitchinterval(0.0002)
def watch():
    while running:
        at = time.time_ns()
        time.sleep(0.001)
        if time.time_ns() - at > 4e6:
            stalls.append((at, time.time_ns()))
threads = [threading.Thread(target=receive), threading.Thread(target=watch)]
for thread in threads:
    thread.start()
to, start = ("192.0.2.2", 9999) if leaves else ("192.0.2.1", 9999), time.monotonic()
for number in range(count):
    left = start + number * gap - time.monotonic()
    if left > 0:
        time.sleep(left)
    source.sendto(HEAD.pack(number, time.time_ns()) + padding, to)
threads[0].join()
running = False
threads[1].join()
whole = [(number, sent, came) for number, sent, came, sound in got if sound]
ends = [end + 3e6 for _, end in stalls]
def is_calm(moment):
    at = bisect.bisect_right(ends, moment)
    return at == len(stalls) or stalls[at][0] > moment
calm = [(came - sent) / 1e9 for _, sent, came in whole if is_calm(sent) and is_calm(came)]
came = sorted(came for *_, came in whole)
said = {"sent": count, "whole": len(whole), "distinct": len({number for number, *_ in whole}), "calm": len(calm)}
if len(calm) > 1:
    said |= {"percentiles": quantiles(calm, n=100), "at_once": sum(d < 0.005 for d in calm) / len(calm)}
def stretches():
    start = came[len(came) // 10]
    for stall in [*stalls, (came[-1], came[-1])]:
        if stall[1] > start:
            yield start, min(stall[0], came[-1])
            start = stall[1]
if len(came) > 100:
    start, end = max(stretches(), key=lambda stretch: stretch[1] - stretch[0])
    start += (end - start) // 5
    within = [at for at in came if start <= at <= end]
    said["stretch"] = (end - start) / 1e9
    if len(within) > 1:
        pauses = [b - a for a, b in zip(within, within[1:]) if b - a > 4e6]
        after = [i for i in range(1, len(within)) if within[i] - within[i - 1] > 4e6]
        first, last = (after[0], after[-1]) if len(after) > 1 else (0, len(within) - 1)  # from slot to slot, if any
        said["rate"] = (last - first) * (size + 42) * 1e9 / (within[last] - within[first])
        said["pause"] = median(pauses) / 1e9 if pauses else 0
print(json.dumps(said))
"""


Said = dict[str, Any]


@dataclass(frozen=True)
class Traffic:
    """How many datagrams of how many bytes, with how much time between (s); `quiet` s without any end it."""

    count: int
    size: int = 100
    gap: float = 0.0
    quiet: float = 0.8


@dataclass(frozen=True)
class Measured:
    """One quantity: what was asked, what the packets showed, and how far that may be off."""

    quantity: str
    unit: str
    asked: float
    found: float
    allowed: float

    @property
    def is_within(self) -> bool:
        """Whether it is not further off."""
        return abs(self.found - self.asked) <= self.allowed


@dataclass(frozen=True)
class Dose:
    """A fault, what is sent through it, and what to make of what came."""

    kind: str
    given: Mapping[str, Any]
    traffic: Traffic
    judge: Callable[[Said], list[Measured]]


def _times(delay: float, jitter: float = 0.0, distribution: str = "uniform") -> Callable[[Said], list[Measured]]:
    """Judge delay and jitter, by percentiles: the few that a busy machine holds up move none of these."""
    table = sorted(delay_tables.entries(distribution)) or range(-delay_tables.SCALE, delay_tables.SCALE + 1)

    def drawn(percent: int) -> float:
        return table[round(percent / 100 * (len(table) - 1))] / delay_tables.SCALE

    def judge(said: Said) -> list[Measured]:
        found = dict(enumerate(said["percentiles"], 1))
        wide = (found[84] - found[16]) / (drawn(84) - drawn(16)) if jitter else 0.0
        times = [Measured("delay", "ms", delay, found[50] - wide * drawn(50), near(delay))]
        return times + ([Measured("jitter", "ms", jitter, wide, near(jitter))] if jitter else [])

    return judge


def _gone(share: float, correlation: float = 0.0) -> Callable[[Said], list[Measured]]:
    def judge(said: Said) -> list[Measured]:
        found = 1 - said["distinct"] / said["sent"]
        return [Measured("lost or altered", "%", share, found, by_chance(share, said["sent"], correlation))]

    return judge


def _twice(share: float) -> Callable[[Said], list[Measured]]:
    def judge(said: Said) -> list[Measured]:
        found = said["whole"] / said["distinct"] - 1
        return [Measured("duplicated", "%", share, found, by_chance(share, said["sent"]))]

    return judge


def _at_once(share: float) -> Callable[[Said], list[Measured]]:
    return lambda said: [Measured("sent at once", "%", share, said["at_once"], by_chance(share, said["calm"]))]


def _rate(rate: float) -> Callable[[Said], list[Measured]]:
    return lambda said: [Measured("rate", "MB/s", rate, said["rate"], 0.03 * rate)]


def _pause(between: float) -> Callable[[Said], list[Measured]]:
    return lambda said: [Measured("pause between slots", "ms", between, said["pause"], near(between))]


def _storm(period: float, rate: float) -> Callable[[Said], list[Measured]]:
    return lambda said: [*_pause(period)(said), *_rate(rate)(said)]


def _burst(size: float) -> Callable[[Said], list[Measured]]:
    """Judge by what came at all; while it was sent a little drained, and a packet is whole."""

    def judge(said: Said) -> list[Measured]:
        return [Measured("let through of a burst", "kB", size, said["whole"] * 1042.0, 0.05 * size + 1042)]

    return judge


_ONE_BY_ONE = Traffic(3000, gap=0.0002)
_FLOOD = Traffic(20_000)
_SAMPLES = [f"{ms}ms" for ms in (8, 9, 9, 10, 10, 10, 11, 12, 14, 31)]
_SHAPE = delay_tables.text_of([float(text[:-2]) for text in _SAMPLES])
_BURSTS = {"p": "0.5%", "r": "20%"}
DOSES = (
    Dose("netem", {"delay": "5ms"}, Traffic(500, gap=0.001), _times(0.005)),
    Dose("netem", {"delay": "200ms"}, Traffic(500, gap=0.001), _times(0.2)),
    Dose("netem", {"delay": "40ms", "direction": "ingress"}, Traffic(500, gap=0.001), _times(0.04)),
    Dose("netem", {"delay": "60ms", "jitter": "20ms"}, _ONE_BY_ONE, _times(0.06, 0.02)),
    *(
        Dose(
            "netem",
            {"delay": "60ms", "jitter": "10ms", "distribution": name},
            _ONE_BY_ONE,
            _times(0.06, 0.01, name),
        )
        for name in ("normal", "pareto", "paretonormal")
    ),
    Dose("netem", {"delay": "60ms", "jitter": "10ms", "samples": _SAMPLES}, _ONE_BY_ONE, _times(0.06, 0.01, _SHAPE)),
    Dose("netem", {"loss": "0.5%"}, _FLOOD, _gone(0.005)),
    Dose("netem", {"loss": "2%"}, _FLOOD, _gone(0.02)),
    Dose("netem", {"loss": "20%"}, _FLOOD, _gone(0.2)),
    Dose("netem", {"loss_gemodel": _BURSTS}, _FLOOD, _gone(0.005 / 0.205, 1 - 0.205)),
    Dose("netem", {"loss_state": {"p13": "0.5%", "p31": "20%"}}, _FLOOD, _gone(0.005 / 0.205, 1 - 0.205)),
    Dose("netem", {"corrupt": "5%"}, _FLOOD, _gone(0.05)),
    Dose("netem", {"duplicate": "5%"}, _FLOOD, _twice(0.05)),
    Dose("netem", {"delay": "20ms", "reorder": "25%"}, _ONE_BY_ONE, _at_once(0.25)),
    Dose("netem", {"slot": {"min_delay": "20ms", "max_delay": "20ms"}}, Traffic(6000, gap=0.0002), _pause(0.02)),
    *(
        Dose(kind, {"rate": f"{mbit}mbit", "direction": hook, **more}, Traffic(250 * mbit, 1000), _rate(mbit / 8 * 1e6))
        for kind, more in (("netem", {"limit": 100_000}), ("bandwidth", {"latency": "9s"}))
        for mbit, hook in ((4, "egress"), (16, "egress"), (8, "ingress"))
    ),
    *(
        Dose("shallow_buffer", {"rate": "16mbit", "buffer": "60kB", "direction": hook}, Traffic(4000, 1000), _rate(2e6))
        for hook in ("egress", "ingress")
    ),
    *(
        Dose("shallow_buffer", {"rate": "800kbit", "buffer": size}, Traffic(400, 1000), _burst(10e3 + passes))
        for size, passes in (("20kB", 20e3), ("60kB", 60e3), ("150kB", 150e3))
    ),
    *(
        Dose(
            "pause_storm",
            {"pause": f"{pause}ms", "release_for": "5ms", "rate": "16mbit", "direction": hook},
            Traffic(6000, gap=0.0002),
            judge((pause + 5) / 1e3, 2e6 * 5 / (pause + 5)),
        )
        # a program stamps what comes in, later than the kernel would: by the rate alone
        for pause, hook, judge in (
            (10, "egress", _storm),
            (20, "egress", _storm),
            (20, "ingress", lambda _, r: _rate(r)),
        )
    ),
)


@contextmanager
def wired(target: Target) -> Iterator[None]:
    """Have the veth and the namespace on a host."""
    target.run(_UP)
    try:
        yield
    finally:
        target.run("ip link del data0; ip netns del far")


def measure(target: Target, dose: Dose, attempts: int = 4) -> list[Measured]:
    """Return what a dose came to; measured again where it is off, since a machine may be too busy to tell."""
    found = dose.judge(sent_through(target, dose))
    if attempts > 1 and not all(one.is_within for one in found):
        return measure(target, dose, attempts - 1)
    return found


def sent_through(target: Target, dose: Dose) -> Said:
    """Apply a fault, send packets, take the fault away, and return what the packets showed."""
    fault = catalog.faults().get(dose.kind).model_validate({"interface": "data0", **dose.given})
    assert isinstance(fault, Impairment)
    before = read(target, fault.reading())
    assert fault.objection(before) is None
    plant, undo = (target.render(action) for action in (*fault.apply(before), *fault.revert(before)))
    traffic = dose.traffic
    asked = json.dumps([fault.direction == "egress", traffic.count, traffic.size, traffic.gap, traffic.quiet])
    program = f"{sys.executable} -S -c {shlex.quote(_PROGRAM)} {shlex.quote(asked)}"
    try:
        target.run(plant.do)
        said: Said = json.loads(target.run(program, timeout=120).stdout)
        now = read(target, fault.reading())
        assert fault.is_applied(before, now), dose
        assert fault.dose(before, now).confirmed, dose
    finally:
        target.run(undo.do)
    assert fault.is_reverted(before, read(target, fault.reading()))
    return said


def near(asked: float) -> float:
    """How far a time may be off: 1 ms, or 2 %."""
    return max(0.001, 0.02 * asked)


def by_chance(share: float, packets: int, correlation: float = 0.0) -> float:
    """How far a share may be off by chance: in 99 of 100 times, were it of 5 000 packets or of as few as there are.

    Of more packets, chance alone hardly ever takes it so far. With `correlation` the packet before tells that much of a
    packet's fate, and they count for fewer.
    """
    counted = min(packets, _PROMISED) * (1 - correlation) / (1 + correlation)
    return _TWO_SIDED_99 * sqrt(share * (1 - share) / counted)


_PROMISED, _TWO_SIDED_99 = 5000, 2.576
