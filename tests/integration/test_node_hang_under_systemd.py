"""node_hang on a host whose process 1 is a real systemd: services stand still; systemd, logins and the fuse live."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chaos.faults.node_hang import NodeHang
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import wait_until
from tests.unit.faults.payload_hosts import Standing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
SERVE = "systemd-run --quiet --collect --unit=gd-hung busybox httpd -f -p 127.0.0.1:8125 -h /tmp"


@pytest.fixture(scope="module")
def host(systemd_host: LocalTarget) -> Iterator[LocalTarget]:
    systemd_host.run(SERVE)
    yield systemd_host
    systemd_host.run("systemctl stop gd-hung")


def answers(host: LocalTarget) -> bool:
    ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox timeout 1 busybox nc 127.0.0.1 8125"
    return host.run(ask, check=False).stdout.startswith("HTTP")


def test_services_stand_still_and_the_way_in_does_not(host: LocalTarget) -> None:
    wait_until(lambda: answers(host))
    standing = Standing(host, NodeHang())
    assert "system.slice/gd-hung.service" in standing.before.groups
    assert not [group for group in standing.before.groups if "systemd-" in group or "dbus" in group]
    standing.confirmed()
    assert not answers(host)
    host.run("systemctl start --quiet systemd-tmpfiles-clean && systemctl is-active gd-hung")
    assert host.run(f"[ -e {standing.fuse.folder}/unit ] && echo yes").stdout == "yes\n", "the fuse is a unit"
    assert standing.fuse.fire(patience=20) == "clean: on request"
    assert standing.is_reverted()
    standing.fuse.disarm()
    wait_until(lambda: answers(host))
