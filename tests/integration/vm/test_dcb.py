"""Data centre bridging on a real kernel: roce0 of dcbsim, mis-set, read back and put back, by dcb(8) and by netlink.

What is objected to was recorded here: tests/cases/faults/pfc and ets, the cases that begin with dcb.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from chaos.contracts import SetDcb, Target
from chaos.faults._dcb import DcbFault
from chaos.faults.ets import Ets
from chaos.faults.pfc import Pfc
from chaos.kernel import Pfc as PfcState
from chaos.run.connect import target_of
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.injector import read
from chaos.spec.inventory import Inventory
from chaos.targets import _dcb
from tests.integration.vm.debian import module, unpacked

ROOT = Path(__file__).parents[3]
PLAIN = "dcb dcbx set dev roce0 host ieee && dcb ets set dev roce0 tc-tsa all:strict 0:ets 3:ets tc-bw all:0 0:50 3:50 \
prio-tc 0:0 1:1 2:2 3:3 4:4 5:5 6:6 7:7 && \
dcb pfc set dev roce0 prio-pfc all:off 3:on delay 7"
UP = f"""ip link set roce0 addrgenmode none up && ip address replace 192.0.2.1/24 dev roce0 &&
ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev roce0 nud permanent && {PLAIN}"""
ALL = "dcb pfc show dev roce0; dcb ets show dev roce0; dcb buffer show dev roce0; dcb dcbx show dev roce0; \
ethtool -a roce0; ethtool --get-tunable roce0 pfc-prevention-tout"
FAULTS: list[DcbFault] = [
    Pfc(interface="roce0", priorities=(4, 5), stop_watchdog=True),
    Ets(interface="roce0", tc_bw={7: 100}, tc_tsa={0: "strict", 3: "strict", 7: "ets"}, prio_tc={3: 0}),
]

# each is set by dcb(8), whose messages are seen, and then by netlink; the kernel's answers are read as bytes
GUEST = """
import json, subprocess, sys
from chaos.contracts import DcbState, SetDcb
from chaos.errors import CommandFailed
from chaos.kernel import Ets, Pfc
from chaos.targets import _dcb, _dcb_text
from chaos.targets.local import LocalTarget

def action(one):
    parts = {name: tuple(values) for name, values in one.items()}
    return SetDcb("roce0", Pfc(frozenset(parts["priorities"])) if "priorities" in parts else Ets(**parts))
asked = [action(one) for one in json.load(sys.stdin)]
lines = " || exit 9\\n".join(_dcb_text.put(one).do for one in asked)
strace = ["strace", "-f", "-e", "trace=sendto", "-e", "write=all", "sh", "-c", lines]
seen = subprocess.run(strace, capture_output=True, text=True, check=True).stderr
by_dcb, by_netlink, ours = _dcb._ask("roce0").hex(), [], []
exchange, host = _dcb._exchange, LocalTarget("guest")
_dcb._exchange = lambda message: (ours.append(message.hex()), exchange(message))[1]
for one in asked:
    host.perform(one)
    by_netlink.append(exchange(_dcb.asking("roce0")).hex())
_dcb._exchange = exchange
try:
    host.perform(SetDcb("roce0", Ets(("ets",) * 8, (1,) * 8, (0,) * 8)))
except CommandFailed as error:
    refused = str(error)
printed = subprocess.getoutput(_dcb_text.script("roce0"))
print(json.dumps([seen, ours, by_dcb, by_netlink, refused, _dcb_text.parse(printed) == host.ask(DcbState("roce0"))]))
host.close()
"""


@pytest.fixture(scope="module")
def roce(inventory: Inventory) -> Iterator[Target]:
    """A worker with roce0, which pauses priority 3 and has two classes that share."""
    target = target_of("worker-1", inventory.hosts["worker-1"])
    release = target.run("uname -r").stdout.strip()
    target.run(f"insmod {module(Path(__file__).parent / 'dcbsim', release)} && {UP}")
    yield target
    target.run("rmmod dcbsim")
    target.close()


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_it_is_set_and_put_back_over_ssh(roce: Target, fault: DcbFault) -> None:
    printed = roce.run(ALL).stdout
    before = read(roce, fault.reading())
    assert fault.objection(before) is None
    actions = fault.apply(before)
    do = " &&\n".join(roce.render(action).do for action in actions * 2)
    roce.run(f"{do} || exit 9\nping -c 5 -i 0.01 -W 0.05 192.0.2.2; true")
    now = read(roce, fault.reading())
    assert fault.is_applied(before, now)
    assert not fault.is_reverted(before, now)
    dose = fault.dose(before, now)
    restarts = [action for action in actions if isinstance(action, SetDcb) and isinstance(action.wanted, PfcState)]
    assert dose.confirmed
    assert dose.achieved["link_changes"] == 4 * len(restarts)
    assert dose.achieved["pause_frames_received"] >= 5
    undo = [roce.render(action) for action in fault.revert(before)]
    script = "\n".join(f"{action.do}\n{action.do}\n({action.until}) || exit 9" for action in undo)
    assert roce.run(f"({script}) >/dev/null || exit 9\n{ALL}").stdout == printed
    assert fault.is_reverted(before, read(roce, fault.reading()))


def test_the_fingerprint_of_the_host_shows_it(roce: Target) -> None:
    before = fingerprint(roce)
    roce.run("dcb pfc set dev roce0 prio-pfc 3:off 4:on")
    changed = [line for line in drift(before, fingerprint(roce)) if " dcb " in line]
    roce.run(PLAIN)
    was, now = "3:on 4:off", "3:off 4:on"
    line = "dcb roce0: prio-pfc 0:off 1:off 2:off {} 5:off 6:off 7:off"
    assert changed == [f"- {line.format(was)}", f"+ {line.format(now)}"]


def test_an_agent_on_the_host_is_objected_to(roce: Target) -> None:
    """lldpad as Debian packages it, while it runs."""
    files = unpacked("lldpad", "libconfig9", "libnl-3-200")
    libraries = ":".join(str(folder.parent) for folder in files.rglob("lib*.so*"))
    roce.run(
        f"mkdir -p /var/lib/lldpad; LD_LIBRARY_PATH={libraries} {files}/usr/sbin/lldpad -d\n"
        "for _ in 1 2 3 4 5; do grep -qsx lldpad /proc/[0-9]*/comm && exit; sleep 0.2; done; exit 9"
    )
    fault = Pfc(interface="roce0", priorities=(4,))
    try:
        why = fault.objection(read(roce, fault.reading()))
    finally:
        roce.run("kill $(grep -sxl lldpad /proc/[0-9]*/comm | cut -d/ -f3)")
    assert why == "lldpad runs on the host and sets DCB itself; stop it for the experiment (systemctl stop lldpad)"


SET = _dcb.SET.to_bytes(2, "little").hex()
EIGHT = st.lists(st.integers(0, 7), min_size=8, max_size=8)


@st.composite
def shares(draw: st.DrawFn) -> dict[str, list[Any]]:
    """An ETS that a driver takes: shares of 100 % together, where there is a class that shares."""
    algorithms = draw(st.lists(st.sampled_from(sorted(_dcb.TSA.values())), min_size=8, max_size=8))
    sharing = [tc for tc in range(8) if algorithms[tc] == "ets"]
    between = max(0, len(sharing) - 1)
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=between, max_size=between)))
    parts = dict(zip(sharing, (after - before for before, after in pairwise([0, *cuts, 100])), strict=False))
    return {"tc_tsa": algorithms, "tc_bw": [parts.get(tc, 0) for tc in range(8)], "prio_tc": draw(EIGHT)}


def drawn(count: int) -> list[dict[str, list[Any]]]:
    """That many settings, as hypothesis makes them up."""
    found: list[dict[str, list[Any]]] = []

    @given(st.sets(st.integers(0, 7)).map(lambda some: {"priorities": sorted(some)}) | shares())
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate])
    def draw(one: dict[str, list[Any]]) -> None:
        found.append(one)

    draw()
    return found


def sent_by_dcb(seen: str) -> list[str]:
    """The messages in what strace(1) wrote of them, each a block of rows of 16 bytes."""
    rows = re.findall(r"^ \| ([0-9a-f]{5})  (.{48}) ", seen, re.MULTILINE)
    messages: list[str] = []
    for offset, octets in rows:
        if offset == "00000":
            messages.append("")
        messages[-1] += octets.replace(" ", "")
    return messages


def without_number(message: str) -> str:
    """Leave out the message's own number, which is the time of day with dcb(8)."""
    return message[:16] + message[24:]


def test_dcb_and_netlink_send_the_same_and_leave_the_kernel_with_the_same(roce: Target) -> None:
    asked = drawn(10)
    path = os.pathsep.join((str(ROOT), *filter(None, sys.path)))
    run = f"PYTHONPATH={path} {sys.executable} -S -c {shlex.quote(GUEST)} <<'END'\n{json.dumps(asked)}\nEND\n"
    roce.run("ip link set roce0 down")  # so that no counter moves: the structure that is set has them in it
    seen, ours, by_dcb, by_netlink, refused, read_alike = json.loads(roce.run(run, timeout=120).stdout)
    roce.run(UP)
    theirs, ours = ([without_number(message) for message in messages] for messages in (sent_by_dcb(seen), ours))
    assert [message for message in theirs if message[8:12] == SET] == ours[1::2]
    assert set(theirs) - set(ours[1::2]) == set(ours[::2])
    assert len(ours) == 2 * len(asked)
    assert by_dcb == by_netlink[-1]
    assert read_alike
    assert re.search("netlink: dcb set roce0.*Invalid argument", refused, re.DOTALL)
    for one, answer in zip(asked, by_netlink, strict=True):
        state = _dcb.decode(bytes.fromhex(answer))
        assert state.pfc is not None
        assert state.ets is not None
        if "priorities" in one:
            assert sorted(state.pfc.priorities) == one["priorities"]
        else:
            assert [list(state.ets.tc_tsa), list(state.ets.tc_bw), list(state.ets.prio_tc)] == list(one.values())
