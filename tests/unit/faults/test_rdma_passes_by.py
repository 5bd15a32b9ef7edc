"""Where the hardware does RDMA: what its bytes pass by is refused, what can be no RDMA is not; soft RoCE is no such.

The interfaces and the reading are real; the devices below /sys/class/infiniband are folders laid out as the kernel does
(Documentation/ABI/stable/sysfs-class-infiniband), mounted over the host's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chaos import catalog
from chaos.run.injector import read
from chaos.targets import _tc
from chaos.targets.local import LocalTarget
from tests.unit.run.namespaced_host import namespaced_host

DEVICES = r"""set -e
for name in eth0 eth0.7 eth1 eth2 eth3; do
    ip link add $name type veth peer name p$name; ip link set $name up
done
device() { # PARENT NAME INTERFACES
    at=/run/devices/$1/infiniband/$2 && mkdir -p "$at/ports/1/gid_attrs/ndevs" && ln -s "$at" /run/class/infiniband
    for name in $3; do echo "$name" >"$at/ports/1/gid_attrs/ndevs/${name#eth}"; done
}
mkdir -p /run/class/infiniband /run/class/net
mkdir -p /run/devices/pci0000:00/0000:00:03.0/net/eth0
device pci0000:00/0000:00:03.0 mlx5_0 'eth0 eth0.7'
ln -s ../../../0000:00:03.0 /run/devices/pci0000:00/0000:00:03.0/infiniband/mlx5_0/device
device virtual rxe0 eth1
device pci0000:00/0000:00:04.0 rxe1 eth2
echo eth2 >/run/devices/pci0000:00/0000:00:04.0/infiniband/rxe1/parent
mount --bind /sys/class/net /run/class/net && mount --rbind /run/class /sys/class
"""
CARRIERS = {"eth0": ("mlx5_0",), "eth0.7": ("mlx5_0",), "eth1": (), "eth2": (), "eth3": ()}


@pytest.fixture(scope="module")
def host() -> Iterator[LocalTarget]:
    with namespaced_host() as pid:
        target = LocalTarget("there", pid)
        target.run(DEVICES)
        yield target
        target.close()


@pytest.mark.parametrize("interface", CARRIERS)
def test_netlink_and_tc_tell_who_carries_it(host: LocalTarget, interface: str) -> None:
    by_tc = _tc.parse_link(interface, host.run(_tc.link_script(interface)).stdout)
    assert (host.link(interface).rdma, by_tc.rdma) == (CARRIERS[interface], CARRIERS[interface])


QDISCS: dict[str, dict[str, Any]] = {
    "bandwidth": {"rate": "10mbit"},
    "netem": {"delay": "5ms"},
    "pause_storm": {"pause": "5ms", "release_for": "1ms", "rate": "1gbit"},
    "shallow_buffer": {"rate": "10mbit", "buffer": "20kB"},
}
TABLES: dict[str, dict[str, Any]] = {"loss": {"share": "1%"}, "partition": {}, "mtu_black_hole": {"size": 1400}}
MAY_BE: list[dict[str, Any]] = [{}, {"ports": [4791]}, {"protocols": ["udp"]}, {"protocols": ["tcp", "udp"]}]
IS_NONE: list[dict[str, Any]] = [{"protocols": ["tcp"]}, {"ports": [8000]}, {"protocols": ["udp"], "ports": [53]}]
SAID = "RDMA of the hardware is on eth0 (mlx5_0); it never passes here and would be left as it is"


@pytest.mark.parametrize("kind", [*QDISCS, *TABLES])
def test_what_may_be_rdma_is_refused_where_the_hardware_does_it(host: LocalTarget, kind: str) -> None:
    given = (QDISCS | TABLES)[kind]

    def objection(**chosen: Any) -> str:
        fault = catalog.faults().get(kind).model_validate({**given, **chosen})
        return fault.objection(read(host, fault.reading())) or ""

    for chosen in MAY_BE:
        assert objection(interface="eth0", **chosen).startswith(SAID), chosen
        for elsewhere in ("eth1", "eth2"):
            assert objection(interface=elsewhere, **chosen) == "", chosen
    for chosen in IS_NONE:
        assert objection(interface="eth0", **chosen) == "", chosen


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_for_every_interface_names_all_that_carry_it(host: LocalTarget, kind: str) -> None:
    fault = catalog.faults().get(kind).model_validate(TABLES[kind])
    said = fault.objection(read(host, fault.reading())) or ""
    assert said.startswith("RDMA of the hardware is on eth0 (mlx5_0), eth0.7 (mlx5_0)")
