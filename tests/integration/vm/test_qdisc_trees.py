"""Every kind of tree that somebody tunes, on a kernel that has them all: an impairment comes and goes, it stays."""

from __future__ import annotations

from chaos.contracts import Target
from chaos.faults.netem import Netem
from chaos.run.injector import read
from chaos.units import SI

MATCH = "protocol ip u32 match ip dst 192.0.2.9/32"
ADD = "tc qdisc add dev tree0"
TREES = {
    "mq": f"{ADD} root handle 1: mq; "
    + "; ".join(f"{ADD} parent 1:{n} fq limit 5000 quantum 9000" for n in (1, 2, 3, 4)),
    "fq": f"{ADD} root handle 8001: fq limit 4000 buckets 2048 maxrate 800mbit",
    "fq_codel": f"{ADD} root handle 8001: fq_codel limit 5000 target 7ms noecn",
    "htb": f"{ADD} root handle 1: htb default 10; tc class add dev tree0 parent 1: classid 1:10 htb rate 900mbit; "
    f"tc class add dev tree0 parent 1: classid 1:20 htb rate 50mbit; {ADD} parent 1:10 handle 10: sfq perturb 10; "
    f"tc filter add dev tree0 parent 1: {MATCH} flowid 1:20",
    "ets": f"{ADD} root handle 1: ets bands 4 strict 1 quanta 4000 3000 2000; {ADD} parent 1:2 pfifo limit 77",
    "prio": f"{ADD} root handle 1: prio bands 4; {ADD} parent 1:3 handle 30: prio; "
    f"tc filter add dev tree0 parent 1: {MATCH} flowid 1:2; tc filter add dev tree0 parent 30: {MATCH} flowid 30:1",
    "ingress": f"{ADD} ingress; tc filter add dev tree0 ingress {MATCH} action drop",
    "clsact": f"{ADD} clsact; tc filter add dev tree0 ingress {MATCH} action drop; "
    f"tc filter add dev tree0 egress pref 7 {MATCH} action pass; {ADD} root handle 8001: fq",
}
PARENTS = ("", "ingress", "egress", "parent 30:")
SHOW = "; ".join(
    ["tc qdisc show | sed 's/ direct_packets_stat [0-9]*//'", "tc class show dev tree0 | grep -v fq_codel"]
    + [f"tc filter show dev tree0 {parent}" for parent in PARENTS]
    + ["ip -o link | sed 's/^[0-9]*: //'"]
)
VETH = "ip link add tree0 numtxqueues 4 numrxqueues 4 type veth peer name tree1 numtxqueues 4 numrxqueues 4"
UP = f"{VETH}; ip link set tree1 up; ip link set tree0 up; ip address add 192.0.2.1/24 dev tree0; \
ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev tree0 nud permanent"
FAULT = Netem(interface="tree0", delay=SI(0.02), loss=SI(0.1))


def test_every_tree_is_left_to_the_letter(worker: Target) -> None:
    worker.run("modprobe ifb numifbs=0; true")
    for name, tree in TREES.items():
        before_text = worker.run(f"{UP}\n{tree.replace('; ', ' && ')} || exit 9\n{SHOW}").stdout
        try:
            before = read(worker, FAULT.reading())
            assert FAULT.objection(before) is None, name
            plant = "\n".join(worker.render(action).do for action in FAULT.apply(before))
            worker.run(f"{plant}\n[ $? = 0 ] || exit 9\nping -c 2 -i 0.01 -W 0.05 192.0.2.2; true")
            now = read(worker, FAULT.reading())
            assert FAULT.is_applied(before, now), name
            assert FAULT.dose(before, now).confirmed, name
            undo = [worker.render(action) for action in FAULT.revert(before)]
            script = "\n".join(f"{action.do}\n{action.do}\n({action.until}) || exit 9" for action in undo)
            assert worker.run(f"({script}) >/dev/null || exit 9\n{SHOW}").stdout == before_text, name
            assert FAULT.is_reverted(before, read(worker, FAULT.reading())), name
        finally:
            worker.run("ip link del tree0")


def test_no_packet_is_lost_by_letting_go_of_a_delay(worker: Target) -> None:
    """Two hundred pings on their way through 200 ms when the netem goes; the far end of the veth counts them.

    There is a clsact already: the kernel stops an interface for a moment when one comes or goes.
    """
    fault = Netem(interface="tree0", delay=SI(0.2))
    worker.run(
        f"modprobe ifb numifbs=0; {UP} && {ADD} clsact\n"
        "for i in tree0 tree1; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done"
    )
    try:
        before = read(worker, fault.reading())
        plant, undo = (worker.render(action).do for action in (*fault.apply(before), *fault.revert(before)))
        count = "cat /sys/class/net/tree1/statistics/rx_packets"
        ping = "ping -q -c 200 -i 0.01 -W 0.1 192.0.2.2"
        said = worker.run(f"{plant}\n{count}\n{ping} & sleep 1\n{undo}\nwait\n{count}").stdout
        assert fault.is_reverted(before, read(worker, fault.reading()))
    finally:
        worker.run("ip link del tree0")
    first, *_, last = (int(line) for line in said.splitlines() if line.isdigit())
    assert " 0 packets dropped by letting go" in said
    assert last - first == 200
