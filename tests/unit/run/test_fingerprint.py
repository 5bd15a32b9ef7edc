"""The fingerprint of a real host: what changes it, what does not, and that drift says it in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.run.fingerprint import drift, fingerprint, lines_of
from chaos.targets.local import LocalTarget

NETWORK = ("address", "filter", "link", "nft", "qdisc", "route", "rule", "rule6", "sysctl")


@pytest.fixture
def alone() -> Iterator[LocalTarget]:
    """A host in network and mount namespaces of its own, with one interface."""
    make = """mount -t sysfs none /sys && ip link set lo up && ip link add d0 type veth peer name d1
        for d in d0 d1; do ip link set $d addrgenmode none up; done
        ip -6 address add fd09::1/64 dev d0 nodad && ip address add 10.9.0.1/24 dev d0
        until ip -6 route show table local | grep -q '^local fd09::1'; do sleep 0.02; done
        echo up && exec sleep 300"""
    with subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", make], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        target = LocalTarget("alone", process.pid)
        yield target
        target.close()
        process.kill()


def network(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line for line in lines if line.split()[0].rstrip(":") in NETWORK)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("ip link set d0 mtu 1400", ["link d0@d1: was ", "mtu 1500", ", is ", "mtu 1400"]),
        ("ip link set d0 txqueuelen 77", ["link d0@d1: was ", "qlen 77"]),
        ("ip address add 10.9.1.1/32 dev d0", ["+ address: d0 inet 10.9.1.1/32"]),
        ("ip -6 route add fd10::/64 dev d0", ["+ route: fd10::/64 dev d0"]),
        ("ip rule add from 10.9.0.9 lookup 77", ["+ rule: ", "from 10.9.0.9 lookup 77"]),
        ("ip -6 rule add from fd09::9 lookup 77", ["+ rule6: ", "from fd09::9 lookup 77"]),
        (
            "sysctl -qw net.ipv4.tcp_rmem='4096 9999 99999'",
            ["sysctl net.ipv4.tcp_rmem: was ", "is 4096 9999 99999"],
        ),
        ("tc qdisc add dev d0 root handle 1: htb", ["+ qdisc: qdisc htb 1: dev d0 root"]),
        ("tc qdisc add dev d0 clsact", ["+ qdisc: qdisc clsact ffff: dev d0"]),
        ("nft add table inet theirs", ["+ nft: table inet theirs"]),
    ],
)
def test_a_change_is_named_alone(alone: LocalTarget, change: str, says: list[str]) -> None:
    before = network(fingerprint(alone))
    assert drift(before, network(fingerprint(alone))) == []
    alone.run(change)
    lines = [line for line in drift(before, network(fingerprint(alone))) if "local" not in line]
    assert any(all(part in line for part in says) for line in lines), lines
    assert len(lines) <= 2, "and what goes with it (an interface's mtu is a sysctl too)"


@pytest.mark.parametrize(
    "command",
    [
        "tc class add dev d0 parent 1: classid 1:1 htb rate 1mbit",
        "tc filter add dev d0 parent 1: protocol ip u32 match ip dst 1.2.3.4 flowid 1:1",
        "tc filter add dev d0 ingress protocol ip u32 match ip dst 1.2.3.4 flowid :1",
        "tc filter add dev d0 egress protocol ip u32 match ip dst 1.2.3.4 flowid :1",
    ],
)
def test_classes_and_filters_of_an_interface(alone: LocalTarget, command: str) -> None:
    alone.run("tc qdisc add dev d0 root handle 1: htb; tc qdisc add dev d0 clsact")
    before = network(fingerprint(alone))
    alone.run(command)
    found = drift(before, network(fingerprint(alone)))
    assert found
    assert all(line.startswith("+ filter d0: ") for line in found)


def test_rules_keep_their_counters_and_dynamic_sets_their_elements_to_themselves(alone: LocalTarget) -> None:
    alone.run(
        """nft -f - <<'E'
table inet theirs {
	set seen {
		type ipv4_addr
		flags dynamic,timeout
		timeout 1h
	}
	set known {
		type ipv4_addr
		elements = { 10.0.0.1, 10.0.0.2 }
	}
	chain c {
		type filter hook output priority 0
		counter
		add @seen { ip daddr }
	}
}
E"""
    )
    before = network(fingerprint(alone))
    alone.run("for i in 2 3 4 5; do ping -c 1 -W 0.1 10.9.0.$i; done; true")
    assert "10.9.0.5" in alone.run("nft list set inet theirs seen").stdout
    assert drift(before, network(fingerprint(alone))) == []
    alone.run("nft add element inet theirs known { 10.0.0.3 }; nft add rule inet theirs c accept")
    lines = drift(before, network(fingerprint(alone)))
    assert "+ nft: table inet theirs / chain c: accept" in lines
    assert any("10.0.0.3" in line for line in lines)


def test_an_address_that_is_still_probed_for_is_there(alone: LocalTarget) -> None:
    """RFC 4862: until no neighbour has claimed it, the kernel has no route to it (ip-address(8): tentative)."""
    show = "ip -6 address show dev d0; ip -6 route show table local"
    said = alone.run(f"ip -6 address add fd0a::1/64 dev d0; {show}").stdout
    assert "tentative" in said
    assert "local fd0a::1" not in said
    before = network(fingerprint(alone))
    assert any("fd0a::1/64" in line for line in before)
    alone.run("until ip -6 route show table local | grep -q '^local fd0a::1'; do sleep 0.05; done")
    assert drift(before, network(fingerprint(alone))) == []


def test_lifetimes_go_by(alone: LocalTarget) -> None:
    """As DHCP and router advertisements leave them, and renew them."""
    lease = "ip address replace 10.9.2.1/24 dev d0 valid_lft {0} preferred_lft {0}; "
    lease += "ip -6 address replace fd0b::1/64 dev d0 nodad valid_lft {0} preferred_lft {0}; "
    lease += "ip -6 route replace fd0c::/64 dev d0 proto ra expires {0}"
    alone.run(lease.format(900))
    before = network(fingerprint(alone))
    alone.run(lease.format(600))
    assert drift(before, network(fingerprint(alone))) == []
    alone.run("ip -6 route del fd0c::/64 dev d0")
    assert drift(before, network(fingerprint(alone))) == ["- route: fd0c::/64 dev d0 proto ra metric 1024 pref medium"]


def test_a_container_may_come_and_go(alone: LocalTarget) -> None:
    """Its interface is no drift, as long as it is no way of the host's own; a bridge of theirs that came is."""
    before = network(fingerprint(alone))
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE) as container:
        assert container.stdout is not None
        container.stdout.readline()
        alone.run(f"ip link add veth12ab type veth peer name eth0 netns {container.pid} && ip link set veth12ab up")
        alone.run("ip route add 10.244.0.7 dev veth12ab")
        assert "dev veth12ab" in alone.run("ip route").stdout
        during = network(fingerprint(alone))
        assert drift(before, during) == []
        assert drift(during, before) == []
        alone.run("ip address add 10.9.3.1/24 dev veth12ab")
        assert any("veth12ab" in line for line in drift(before, network(fingerprint(alone))))
        container.kill()


KEPT = """*filter
:INPUT ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -j KUBE-SERVICES
{more}
COMMIT
"""


@pytest.mark.parametrize("family", ["iptables", "ip6tables"])
def test_rules_of_the_older_iptables(alone: LocalTarget, family: str) -> None:
    """The tool itself, on a kernel that has its tables; counters, and the chains of kube-proxy, do not count."""
    first, more = KEPT.format(more=""), KEPT.format(more="-A KUBE-SERVICES -p tcp --dport 80 -j DROP")
    load = f"{family}-legacy-restore <<'E'\n%sE"
    alone.run(load % first)
    before = fingerprint(alone)
    assert any(line.startswith(f"{family}-legacy-save: -A INPUT -j KUBE-SERVICES") for line in before)
    alone.run("ping -c 1 127.0.0.1; ping -c 1 ::1")
    alone.run(load % more)
    assert drift(*map(rules, (before, fingerprint(alone)))) == []
    alone.run(f"{family}-legacy -I INPUT -p tcp --dport 81 -j ACCEPT")
    assert drift(*map(rules, (before, fingerprint(alone)))) == [
        f"+ {family}-legacy-save: -A INPUT -p tcp -m tcp --dport 81 -j ACCEPT"
    ]


def rules(lines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(line for line in lines if "tables" in line.split()[0])


def test_chains_that_a_program_keeps_in_nftables(alone: LocalTarget) -> None:
    table = "table ip nat {{\nchain DOCKER {{\n{}\n}}\nchain theirs {{\n{}\n}}\n}}"
    load = "nft delete table ip nat 2>/dev/null; nft -f - <<'E'\n{}\nE"
    alone.run(load.format(table.format("", "accept")))
    before = network(fingerprint(alone))
    alone.run(load.format(table.format("tcp dport 80 drop", "accept")))
    assert drift(before, network(fingerprint(alone))) == []
    alone.run(load.format(table.format("", "drop")))
    assert drift(before, network(fingerprint(alone))) == [
        "- nft: table ip nat / chain theirs: accept", "+ nft: table ip nat / chain theirs: drop",
    ]  # fmt: skip


UNITS = """@@ unit
Type=simple
RemainAfterExit=no
Id=vllm.service
TriggeredBy=
ActiveState={vllm}
SubState=x
UnitFileState=enabled

Type=simple
RemainAfterExit=no
Id=anacron.service
TriggeredBy=anacron.timer
ActiveState={anacron}
SubState=x
UnitFileState=enabled
"""


def test_services_that_a_timer_starts_count_only_where_they_failed() -> None:
    """As systemctl(1) shows properties: in an order of its own, a block for each unit."""

    def units(vllm: str, anacron: str) -> tuple[str, ...]:
        return lines_of(UNITS.format(vllm=vllm, anacron=anacron))

    before = units("active", "inactive")
    assert drift(before, units("active", "active")) == []
    assert drift(before, units("active", "failed")) == ["+ unit anacron.service: failed x"]
    assert drift(before, units("failed", "active")) == ["unit vllm.service: was active x, is failed x"]


def test_an_undone_change_is_no_drift(alone: LocalTarget) -> None:
    before = network(fingerprint(alone))
    alone.run("tc qdisc add dev d0 root handle c4a5: htb; tc qdisc del dev d0 root")
    alone.run("nft add table inet x; nft delete table inet x")
    assert drift(before, network(fingerprint(alone))) == []


def test_a_process_that_stays(host: LocalTarget) -> None:
    """One that ended counts no longer, asked for by its parent or not; nor does one that has only just begun."""
    with (
        subprocess.Popen(["sleep", "60.81"]) as sleeper,
        subprocess.Popen(["sleep", "60.82"]) as ends,
        subprocess.Popen(["sleep", "60.84"]) as waits,
    ):
        assert not any(f"process {sleeper.pid}@" in line for line in fingerprint(host))
        time.sleep(1.1)
        before = fingerprint(host)
        assert any(f"process {waits.pid}@" in line for line in before)
        waits.kill()
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(sleeper.pid, {cpu})
        ends.kill()
        ends.wait()
        with subprocess.Popen(["sleep", "60.83"]) as begins:
            lines = [line for line in drift(before, fingerprint(host)) if line.startswith(f"process {sleeper.pid}@")]
            assert len(lines) == 1
            assert f"is not stopped, processors {cpu}, cgroup" in lines[0]
            sleeper.send_signal(19)
            lines = drift(before, fingerprint(host))
            assert any(line.startswith(f"process {sleeper.pid}@") and "is stopped" in line for line in lines)
            assert not any(f"process {pid}@" in line for line in lines for pid in (ends.pid, begins.pid, waits.pid))
            begins.kill()
        sleeper.kill()


def test_files_that_a_fault_may_touch(host: LocalTarget, tmp_path: Path) -> None:
    names = ["it's $(here)", "mode", "content", "gone", "xattr", "owner"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_text("one")
        path.chmod(0o640)
    before = [line for line in fingerprint(host, map(str, paths)) if line.startswith("file ")]
    assert len(before) == len(paths)
    (tmp_path / "mode").chmod(0o600)
    (tmp_path / "content").write_text("two")
    (tmp_path / "gone").unlink()
    os.chown(tmp_path / "owner", 1, 2)
    changed = {"mode", "content", "gone", "owner"}
    if shutil.which("getfattr"):
        os.setxattr(tmp_path / "xattr", "user.note", b"x")
        changed.add("xattr")
    after = [line for line in fingerprint(host, map(str, paths)) if line.startswith("file ")]
    lines = drift(tuple(before), tuple(after))
    assert {Path(line.removeprefix("file ").split(": was ")[0]).name for line in lines} == changed
    assert any(line.endswith("is absent") for line in lines)


def test_twenty_readings_under_load_are_one(host: LocalTarget, tmp_path: Path) -> None:
    """Beside it processes come and go, files are written, and packets are sent."""
    busy = f"""while :; do
        for i in 1 2 3 4 5; do echo x >'{tmp_path}/x'; sleep 0.01; done
        ping -c 1 127.0.0.1 >/dev/null
    done"""
    with subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", busy]) as load:
        first = stable(fingerprint(host))
        try:
            for _ in range(20):
                assert drift(first, stable(fingerprint(host))) == []
        finally:
            load.kill()


def stable(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out what other tests on this machine may change beside this one: their processes are no concern of ours."""
    return tuple(line for line in lines if not line.startswith(("ours: ", "process ")) and "veth" not in line)


def test_no_secret_is_read(host: LocalTarget) -> None:
    assert not any(word in line for line in fingerprint(host) for word in ("fastopen_key", "stable_secret", "rss_key"))


@pytest.mark.parametrize("sh", ["dash", "bash", "busybox sh"])
def test_every_shell_reads_the_same(sh: str) -> None:
    script = Path("chaos/run/fingerprint.sh").read_text()
    done = subprocess.run([*sh.split(), "-c", script], capture_output=True, text=True, check=True)
    names = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("@@ ")}
    assert {"qdisc", "address", "rule6", "nft", "sysctl", "process", "ours"} <= names
    assert " failed" not in done.stdout
