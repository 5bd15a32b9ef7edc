"""LocalTarget in a real network namespace: what netlink says, what tc says, and what is made."""

from __future__ import annotations

import pytest

from chaos.contracts import ControlPath, LinkState, PlantQdisc, UprootQdisc
from chaos.errors import CommandFailed, Unreachable
from chaos.kernel import AtRoot, Link, Qdisc
from chaos.targets import _tc
from chaos.targets.local import LocalTarget

TBF = "tc qdisc add dev data0 root handle {} tbf rate 10mbit burst 32kb latency 50ms"


def by_tc(target: LocalTarget, interface: str) -> Link:
    return _tc.parse_link(interface, target.run(_tc.link_script(interface)).stdout)


def by_netlink(target: LocalTarget, interface: str) -> Link:
    return target._netlink.link(interface)


def tree(link: Link) -> list[tuple[str, str, str]]:
    return sorted((q.kind, q.handle, q.parent) for q in link.qdiscs)


@pytest.mark.parametrize(
    "made",
    [
        "true",
        TBF.format("c4a6:"),
        TBF.format("8001:"),
        "tc qdisc add dev data0 clsact",
        "tc qdisc add dev data0 root handle 1: htb default 10 && "
        "tc class add dev data0 parent 1: classid 1:10 htb rate 10mbit && "
        "tc qdisc add dev data0 parent 1:10 handle 10: pfifo limit 5",
    ],
    ids=["default", "ours", "tbf", "clsact", "htb"],
)
def test_netlink_and_tc_agree(namespace: LocalTarget, made: str) -> None:
    namespace.run(made)
    assert tree(by_netlink(namespace, "data0")) == tree(by_tc(namespace, "data0"))


def test_they_agree_on_what_is_not_there(namespace: LocalTarget) -> None:
    assert by_netlink(namespace, "nix0") == by_tc(namespace, "nix0") == Link("nix0", exists=False)


@pytest.mark.parametrize("parent", ["parent 1:", "ingress", "egress"])
def test_both_see_a_filter(namespace: LocalTarget, parent: str) -> None:
    namespace.run("tc qdisc add dev data0 clsact && tc qdisc add dev data0 root handle 1: htb")
    assert by_netlink(namespace, "data0").filters == by_tc(namespace, "data0").filters == ()
    namespace.run(f"tc filter add dev data0 {parent} protocol ip u32 match ip dst 192.0.2.1/32 flowid 1:1")
    assert by_netlink(namespace, "data0").filters
    assert by_tc(namespace, "data0").filters


def test_traffic_changes_counters_and_nothing_else(namespace: LocalTarget) -> None:
    namespace.run(TBF.format("8001:"))
    before = namespace.ask(LinkState("data0"))
    namespace.run("ip address add 192.0.2.1/24 dev data0; ping -c 3 -i 0.01 -W 0.1 192.0.2.2", check=False)
    after = namespace.ask(LinkState("data0"))
    assert after.root.packets > before.root.packets
    assert after == before


@pytest.mark.parametrize("kind", ["pfifo limit 123", "bfifo limit 4567", "pfifo_fast"])
def test_a_root_that_somebody_set_comes_back(namespace: LocalTarget, kind: str) -> None:
    namespace.run(f"tc qdisc add dev data0 root handle 8001: {kind}")
    before = namespace.ask(LinkState("data0"))
    undo = UprootQdisc("data0", AtRoot(before.root))
    namespace.run("tc qdisc replace dev data0 root handle c4a6: tbf rate 10mbit burst 32kb latency 50ms")
    assert namespace.run(namespace.render(undo).until, check=False).status != 0
    for _ in range(2):
        namespace.perform(undo)
        assert namespace.ask(LinkState("data0")) == before
        assert namespace.run(namespace.render(undo).until, check=False).status == 0


@pytest.mark.parametrize("way", ["netlink", "sh"])
def test_only_what_is_ours_is_uprooted(namespace: LocalTarget, way: str) -> None:
    undo = UprootQdisc("data0", AtRoot(None))
    namespace.run(TBF.format("8001:"))
    foreign = namespace.ask(LinkState("data0"))
    for handle, stays in (("8001:", True), ("c4a6:", False)):
        namespace.run(f"tc qdisc del dev data0 root; {TBF.format(handle)}")
        if way == "netlink":
            namespace.perform(undo)
        else:
            namespace.run(namespace.render(undo).do)
        assert (namespace.ask(LinkState("data0")) == foreign) == stays


def test_the_undo_is_content_where_the_interface_is_gone(namespace: LocalTarget) -> None:
    undo = UprootQdisc("nix0", AtRoot(None))
    namespace.perform(undo)
    namespace.run(namespace.render(undo).do)


def test_what_the_kernel_refuses_is_said(namespace: LocalTarget) -> None:
    namespace.run(TBF.format("1:"))
    with pytest.raises(CommandFailed, match="spaced: `netlink: qdisc add data0` ended with "):
        namespace.perform(PlantQdisc("data0", Qdisc("netem", options={"delay": 0.05}), (), AtRoot(None)))


def test_no_network_lies_between(namespace: LocalTarget) -> None:
    assert namespace.ask(ControlPath()) == ()
    namespace.probe_control_path()


def test_commands_run_inside(namespace: LocalTarget) -> None:
    assert "data0" in namespace.run("ls /sys/class/net; ip -o link").stdout


def test_a_host_that_ended_is_unreachable() -> None:
    gone = LocalTarget("gone", 2**22 - 1)
    with pytest.raises(Unreachable, match="gone: its namespaces can't be entered"):
        gone.run("true")
    with pytest.raises(Unreachable, match="gone: its network namespace"):
        gone.ask(LinkState("lo"))


def test_a_command_that_takes_too_long() -> None:
    with pytest.raises(Unreachable, match="here: no answer within 0 s to `sleep 5`"):
        LocalTarget("here").run("sleep 5", timeout=0.1)
