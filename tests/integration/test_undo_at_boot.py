"""What outlives a reboot is undone by the boot: hosts that are killed whole, and booted again from the same disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace

import pytest

from chaos.errors import FuseNotArmed
from chaos.run.fuse import Fuse, Undo
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import booted, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
INITS = {"systemd": (), "cron": ("cron", "-f")}
NAME = "20261124T180000Z-3f2a.file-0@worker 2"
FAULT = "/etc/gameday-test-fault"
LEFT = """
ls -d /etc/systemd/system/gameday-* /etc/systemd/system/*.wants/gameday-* /etc/cron.d/gameday-* /var/lib/gameday \\
    /run/gameday/fuses/* 2>/dev/null; true
"""


@pytest.fixture
def disk() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="gameday-disk-") as folder:
        yield folder


def fuse_on(host: LocalTarget) -> Fuse:
    """A fuse for a file that survives a reboot; it can be undone once /run/let is there."""
    undo = Undo(f"[ -e /run/let ] && rm -f {FAULT}\n", f"[ ! -e {FAULT} ]\n")
    return Fuse(host, NAME, undo, lease=60, ttl=60, persists=True)


def left_on(host: LocalTarget) -> list[str]:
    return host.run(LEFT).stdout.splitlines()


@pytest.mark.parametrize("init", INITS)
def test_a_host_killed_in_mid_fault_is_undone_when_it_boots(init: str, disk: str) -> None:
    with booted(disk, *INITS[init]) as host:
        fuse = armed(host)
        host.run(f"touch {FAULT}; sync {FAULT}")
        assert fuse.state() == "armed"
    with booted(disk, *INITS[init]) as host:
        fuse = replace(fuse, target=host)
        wait_until(lambda: fuse.state().startswith("reverting 2: the host was booted"), 60)
        assert host.run(f"[ -e {FAULT} ]").status == 0
        host.run("touch /run/let")
        wait_until(lambda: fuse.state() == "clean: the host was booted", 30)
        assert host.run(f"[ ! -e {FAULT} ]").status == 0
        assert left_on(host) == ["/var/lib/gameday"], "what starts it is gone once it reads clean"
        fuse.disarm()
        assert left_on(host) == []


def armed(host: LocalTarget) -> Fuse:
    """Arm it once the host is far enough up to be told to."""
    fuse = fuse_on(host)
    if host.run("cat /proc/1/comm").stdout == "systemd\n":
        wait_until(lambda: "running" in host.run("systemctl is-system-running", check=False).stdout, 60)
    fuse.arm()
    modes = host.run(f"stat -c %a '/var/lib/gameday/{NAME}' '/var/lib/gameday/{NAME}'/*").stdout.split()
    assert set(modes) == {"700", "600"}
    return fuse


@pytest.mark.parametrize("init", INITS)
def test_one_that_was_disarmed_leaves_nothing_to_a_boot(init: str, disk: str) -> None:
    with booted(disk, *INITS[init]) as host:
        fuse = armed(host)
        assert left_on(host)
        fuse.disarm()
        assert left_on(host) == []


def test_a_host_that_can_run_nothing_at_boot_is_refused(disk: str) -> None:
    with booted(disk, "sleep", "600") as host:
        host.run("rm -rf /etc/cron.d")
        with pytest.raises(FuseNotArmed, match="neither systemd runs here nor is there a cron"):
            fuse_on(host).arm()
        assert left_on(host) == [f"/run/gameday/fuses/{NAME}"]
        fuse_on(host).disarm()
        assert left_on(host) == []
