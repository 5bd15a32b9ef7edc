"""Data centre bridging as the kernel's structures: what is set is read back, and nothing else is changed.

That dcb(8) sends the same and reads the same is seen where there is a device with it: tests/integration/vm/test_dcb.py.
"""

from __future__ import annotations

import re
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from chaos.kernel import Ets, Pfc
from chaos.targets import _dcb, _nla

EIGHT = st.lists(st.integers(0, 7), min_size=8, max_size=8).map(tuple)
PFCS = st.builds(Pfc, st.frozensets(st.integers(0, 7)))
ETSES = st.builds(
    Ets,
    st.lists(st.sampled_from(sorted(_dcb.TSA.values())), min_size=8, max_size=8).map(tuple),
    st.lists(st.integers(0, 100), min_size=8, max_size=8).map(tuple),
    EIGHT,
)


def answer(number: int, structure: bytes) -> bytes:
    return _nla.pack(_dcb.IEEE, _nla.pack(number, structure))


@given(PFCS, st.binary(min_size=136, max_size=136))
def test_the_priorities_are_set_and_the_rest_stays(wanted: Pfc, former: bytes) -> None:
    before, now = (_dcb.decode(answer(_dcb.PFC, raw)).pfc for raw in (former, _dcb.changed(former, wanted)))
    assert before is not None
    assert now is not None
    assert now.priorities == wanted.priorities
    assert (now.classes, now.delay, now.macsec_bypass) == (before.classes, before.delay, before.macsec_bypass)
    assert (now.sent, now.received) == (before.sent, before.received)


@given(ETSES, st.binary(min_size=59, max_size=59))
def test_the_classes_are_set_and_the_rest_stays(wanted: Ets, former: bytes) -> None:
    before, now = (_dcb.decode(answer(_dcb.ETS, raw)).ets for raw in (former, _dcb.changed(former, wanted)))
    assert before is not None
    assert now is not None
    assert (now.tc_tsa, now.tc_bw, now.prio_tc) == (wanted.tc_tsa, wanted.tc_bw, wanted.prio_tc)
    assert (now.classes, now.rest) == (before.classes, before.rest)


def test_a_device_without_it_is_asked_as_dcb_asks_and_says_why() -> None:
    """What dcb(8) sends is seen by strace(1); its messages are numbered by the time."""
    strace = ["strace", "-e", "trace=sendto", "-e", "write=all", "dcb", "pfc", "show", "dev", "lo"]
    done = subprocess.run(strace, capture_output=True, text=True, check=False)
    rows = re.findall(r"^ \| [0-9a-f]{5}  (.{48}) ", done.stderr, re.MULTILINE)
    sent = bytes.fromhex("".join(rows))
    assert sent[:8] + sent[12:] == _dcb.asking("lo")[:8] + _dcb.asking("lo")[12:]
    assert _dcb.read("lo").why_not == "Operation not supported"
    assert _dcb.read("none0").why_not == "No such device"
