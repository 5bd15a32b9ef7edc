"""One description of a netem, two ways into a kernel that has netem: it shows the same, attribute by attribute."""

from __future__ import annotations

import json
import os
import shlex
import struct
import sys
from pathlib import Path

from hypothesis import Phase, given, settings

from chaos import delay_tables
from chaos.contracts import Target
from chaos.kernel import Option
from chaos.targets import _netem, _netem_text, _nla
from tests.properties.test_netem_encoding import SAMPLES, options, shown

ROOT = Path(__file__).parents[3]
QOPT = struct.Struct("=6I")
LATENCY64, JITTER64 = 10, 11
MOST_NS = 64  # tc before 6.9 sends a delay in ticks, cut

# one device for each set of options, made by tc and then by netlink; what stands in the kernel then is its own bytes
GUEST = """
import json, os, subprocess, sys
from chaos.kernel import Qdisc
from chaos.targets import _netem_text
from chaos.targets.netlink import NLM_F_EXCL, Netlink, _raw

asked, table = json.load(sys.stdin)
asked = [{name: table if value == "TABLE" else value for name, value in one.items()} for one in asked]
def run(program, lines, **more):
    subprocess.run([program, "-batch", "-"], input="\\n".join(lines), text=True, check=True, **more)
def held(netlink):
    index = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink._socket.get_links()}
    raw = {index[q["index"]]: _raw(q).hex() for q in netlink._socket.get_qdiscs() if q.get_attr("TCA_KIND") == "netem"}
    return [raw.get(f"n{at}", "") for at in range(len(asked))]

os.makedirs("/run/netem-tables", exist_ok=True)
for one in asked:
    for name, table in _netem_text.tables(one).items():
        with open(f"/run/netem-tables/{name}.dist", "w") as file:
            file.write(" ".join(map(str, table)))
run("ip", [f"link add n{at} type veth peer name n{at + 1}" for at in range(0, len(asked), 2)])
netlink = Netlink("guest", None)
adds = [f"qdisc add dev n{at} root handle c4a6: netem {' '.join(_netem_text.words(o))}" for at, o in enumerate(asked)]
run("tc", adds, env={**os.environ, "TC_LIB_DIR": "/run/netem-tables"})
by_tc = netlink._inside(lambda: held(netlink))
printed = subprocess.run(["tc", "-j", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
run("tc", [f"qdisc del dev n{at} root" for at in range(len(asked))])
for at, one in enumerate(asked):
    netlink._inside(lambda: netlink._add_qdisc(f"n{at}", Qdisc("netem", options=one), NLM_F_EXCL))
by_netlink = netlink._inside(lambda: held(netlink))
run("ip", [f"link del n{at}" for at in range(0, len(asked), 2)])
subprocess.run(["rm", "-r", "/run/netem-tables"], check=True)
print(json.dumps([by_tc, by_netlink, json.loads(printed)]))
netlink.close()
"""


def drawn(count: int) -> list[dict[str, Option]]:
    """That many sets of options, as hypothesis makes them up."""
    found: list[dict[str, Option]] = []

    @given(options())
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate])
    def draw(one: dict[str, Option]) -> None:
        found.append(one)

    draw()
    return found[: len(found) // 2 * 2]


def parts(raw: str) -> dict[int, bytes]:
    """The attributes of a dump by number, the head's as number 0 and without its times."""
    octets = bytes.fromhex(raw)
    _, limit, loss, gap, duplicate, _ = QOPT.unpack_from(octets)
    return dict(_nla.unpack(octets[QOPT.size :])) | {0: struct.pack("=4I", limit, loss, gap, duplicate)}


def test_tc_and_netlink_leave_the_kernel_with_the_same(worker: Target) -> None:
    asked = drawn(60)
    table = delay_tables.text_of(SAMPLES)
    short = [{name: "TABLE" if value == table else value for name, value in one.items()} for one in asked]
    path = os.pathsep.join((str(ROOT), *filter(None, sys.path)))
    run = f"PYTHONPATH={path} {sys.executable} -S -c {shlex.quote(GUEST)} <<'END'\n{json.dumps([short, table])}\nEND\n"
    by_tc, by_netlink, printed = json.loads(worker.run(run, timeout=120).stdout)
    in_json = {q["dev"]: q["options"] for q in printed if q["kind"] == "netem"}
    assert len(by_tc) == len(by_netlink) == len(asked) > 40
    for at, one in enumerate(asked):
        ours, theirs = parts(by_netlink[at]), parts(by_tc[at])
        for number in (LATENCY64, JITTER64):
            exact, cut = (int.from_bytes(found.pop(number), "little") for found in (ours, theirs))
            assert 0 <= exact - cut <= MOST_NS, one
        assert ours == theirs, one
        assert_shown(_netem.decode(bytes.fromhex(by_netlink[at])), one, 1e-9)
        assert_shown(_netem_text.options(in_json[f"n{at}"]), one, 2e-6)


def assert_shown(found: dict[str, Option], asked: dict[str, Option], close: float) -> None:
    """Compare what was read back, whose shares have six digits in tc's JSON."""
    expected = shown(asked)
    assert found.keys() == expected.keys(), (found, asked)
    for name, value in expected.items():
        assert abs(float(found[name]) - float(value)) <= close + 1e-5 * abs(float(value)), (name, asked)
