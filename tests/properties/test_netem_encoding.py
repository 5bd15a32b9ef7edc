"""One description of a netem, two encoders: both ways to and from it keep what was asked.

What tc(8) would send to a kernel is seen by strace(1): it sends before a kernel without netem refuses.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PrivateAttr

from chaos import delay_tables
from chaos.faults._qdisc import Seen
from chaos.faults.netem import Netem
from chaos.kernel import Link, Option, Qdisc
from chaos.targets import _netem, _netem_text, _nla
from chaos.units import SI

MICROS = st.integers(2, 274_000_000).map(lambda us: us / 1e6)
JITTERS = st.integers(2, 2_147_483).map(lambda us: us / 1e6)  # beyond which a kernel cuts
NANOS = st.integers(1, 274 * 10**9).map(lambda ns: ns / 1e9)
SHARES = st.floats(1e-6, 1.0)
RATES = st.integers(1, 10**12).map(float)  # bytes/s, beyond the 32 bits of the old field
SAMPLES = [0.001, 0.0012, 0.0012, 0.004]
NAMES = ["uniform", "normal", "pareto", "paretonormal", "samples"]
QOPT, LATENCY64, JITTER64 = 24, 10, 11
TCMSG, OPTIONS = 20, 2


@st.composite
def options(draw: st.DrawFn) -> dict[str, Option]:
    """The options of a Netem that validates, as it would plant them."""
    given: dict[str, Any] = {}
    maybe = st.booleans()
    if draw(maybe):
        given["delay"] = SI(draw(MICROS))
        given |= {"jitter": SI(draw(JITTERS))} if draw(maybe) else {}
    if "jitter" in given:
        given |= {"delay_correlation": SI(draw(SHARES))} if draw(maybe) else {}
        given |= named(draw(st.sampled_from(NAMES)))
    for name in ("duplicate", "corrupt", *(["reorder"] if "delay" in given else [])):
        if draw(maybe):
            given[name] = SI(draw(SHARES))
            given |= {f"{name}_correlation": SI(draw(SHARES))} if draw(maybe) else {}
    if draw(maybe):
        given |= draw(st.one_of(RANDOM, STATES, BURSTS))
        given |= {"ecn": True} if draw(maybe) else {}
    given |= {"slot": draw(st.one_of(SPANS, DRAWN))} if draw(maybe) else {}
    if not given or draw(maybe):
        given["rate"] = SI(draw(RATES))
        given |= draw(CELLS) if draw(maybe) else {}
    if "reorder" in given and draw(maybe):
        given["gap"] = draw(st.integers(1, 1000))
    given["limit"] = draw(st.integers(1, 2**32 - 1))
    return Netem(interface="eth0", **given).options(None)


def named(name: str) -> dict[str, Any]:
    return {"samples": [SI(delay) for delay in SAMPLES]} if name == "samples" else {"distribution": name}


SI_SHARES = SHARES.map(SI)
RANDOM = st.fixed_dictionaries({"loss": SI_SHARES}, optional={"loss_correlation": SI_SHARES})
STATES = st.fixed_dictionaries({"p13": SI_SHARES}, optional=dict.fromkeys(("p31", "p32", "p23", "p14"), SI_SHARES)).map(
    lambda model: {"loss_state": model}
)
BURSTS = st.fixed_dictionaries({"p": SI_SHARES}, optional=dict.fromkeys(("r", "1-h", "1-k"), SI_SHARES)).map(
    lambda model: {"loss_gemodel": model}
)
LIMITS: dict[str, st.SearchStrategy[Any]] = {
    "packets": st.integers(1, 2**31 - 1),
    "bytes": st.integers(1, 2**31 - 1).map(SI),
}
SPANS = st.fixed_dictionaries({"min_delay": NANOS.map(SI)}, optional=LIMITS)
DRAWN = st.builds(
    lambda slot, name: slot | named(name),
    st.fixed_dictionaries({"delay": NANOS.map(SI), "jitter": JITTERS.map(SI)}, optional=LIMITS),
    st.sampled_from(NAMES[1:]),
)
CELLS = st.fixed_dictionaries(
    {"packet_overhead": st.integers(-64, 65535), "cell_size": st.integers(1, 65535)},
    optional={"cell_overhead": st.integers(0, 65535)},
)


def shown(asked: dict[str, Option]) -> dict[str, Option]:
    """What a kernel shows again of it: all but the distributions."""
    return {name: value for name, value in asked.items() if "distribution" not in name}


@given(options())
@settings(deadline=None)
def test_bytes_and_back(asked: dict[str, Option]) -> None:
    found = _netem.decode(_netem.encode(asked))
    assert found.keys() == shown(asked).keys()
    for name, value in shown(asked).items():
        assert abs(float(found[name]) - float(value)) <= (1e-9 if is_a_time(name) else 2**-32), name
    assert is_what_was_asked(asked, found)


def is_a_time(name: str) -> bool:
    return name in ("delay", "jitter", "slot_min", "slot_max", "slot_delay", "slot_jitter")


def is_what_was_asked(asked: dict[str, Option], found: dict[str, Option]) -> bool:
    """What the fault itself takes for the same."""
    fault, link = (
        FixedOptions(interface="eth0", delay="1ms"),
        Link("eth0", True, (Qdisc("netem", "c4a6:", options=found),)),
    )
    fault._asked.update(asked)
    return fault.is_applied(Seen(link, ()), Seen(link, ()))


class FixedOptions(Netem):
    """A netem that asks for options which somebody else has drawn."""

    _asked: dict[str, Option] = PrivateAttr(default_factory=dict)

    def options(self, link: Link | None) -> dict[str, Option]:
        del link
        return self._asked


@given(options())
@settings(deadline=None)
def test_attributes_are_aligned_and_whole(asked: dict[str, Option]) -> None:
    raw = _netem.encode(asked)
    assert len(raw) % 4 == 0
    parts = list(_nla.unpack(raw[QOPT:]))
    assert sum((len(payload) + 7) & ~3 for _, payload in parts) == len(raw) - QOPT
    assert len({number for number, _ in parts}) == len(parts)


@given(st.lists(options(), min_size=40, max_size=40))
@settings(max_examples=6, deadline=None)
def test_tc_sends_the_very_bytes_that_we_send(asked: list[dict[str, Option]]) -> None:
    assert [as_older_tc_does(_netem.encode(one)) for one in asked] == sent_by_tc(asked)


def as_older_tc_does(raw: bytes) -> bytes:
    """Fold the times of ours, in ns, into the ticks of 64 ns, from whole µs, that tc sends before 6.9."""
    parts = [(number, payload) for number, payload in _nla.unpack(raw[QOPT:])]
    times = {number: int.from_bytes(payload, "little") for number, payload in parts if number in (LATENCY64, JITTER64)}
    latency, jitter = (int(times.get(n, 0) / 1000 * 15.625).to_bytes(4, "little") for n in (LATENCY64, JITTER64))
    rest = raw[QOPT + 12 * len(times) :]
    return latency + raw[4:20] + jitter + rest


def sent_by_tc(asked: list[dict[str, Option]]) -> list[bytes]:
    """Return the TCA_OPTIONS that tc(8) sends for each."""
    with tempfile.TemporaryDirectory() as folder:
        for one in asked:
            for name, table in _netem_text.tables(one).items():
                Path(folder, f"{name}.dist").write_text(" ".join(map(str, table)))
        lines = "".join(f"qdisc add dev lo root netem {' '.join(_netem_text.words(one))}\n" for one in asked)
        strace = f"strace -e trace=sendmsg -xx -s 65536 -E TC_LIB_DIR={folder} unshare --net tc -force -batch -"
        done = subprocess.run(strace.split(), input=lines, capture_output=True, text=True, check=False)
    # strace knows nothing of a namespace's sockets, and so prints what stands behind the head of a message as it is
    messages = [bytes.fromhex(text.replace("\\x", "")) for text in re.findall(r'sendmsg\(.*?}, "([^"]*)"', done.stderr)]
    assert len(messages) == len(asked), done.stderr[-2000:]
    return [dict(_nla.unpack(message[TCMSG:]))[OPTIONS] for message in messages]


def varied(samples: list[float]) -> bool:
    """Whether netem can hold their distribution."""
    try:
        delay_tables.text_of(samples)
    except ValueError:
        return False
    return True


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(NAMES[1:4]) | st.lists(st.floats(0, 1e3), min_size=20, max_size=400).filter(varied))
def test_a_table_has_mean_0_and_deviation_1_and_stands_in_order(named: str | list[float]) -> None:
    table = delay_tables.entries(named if isinstance(named, str) else delay_tables.text_of(named))
    assert list(table) == sorted(table)
    mean = sum(table) / len(table)
    deviation = (sum((entry - mean) ** 2 for entry in table) / len(table)) ** 0.5
    assert len(table) == delay_tables.SIZE
    assert abs(mean) <= 0.01 * delay_tables.SCALE
    assert abs(deviation / delay_tables.SCALE - 1) <= 0.01
