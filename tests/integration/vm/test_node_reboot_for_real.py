"""node_reboot on a virtual host that is reset by its own kernel."""

from __future__ import annotations

import os

import pytest

from chaos.contracts import Power, Target
from chaos.errors import CommandFailed
from chaos.faults.node_reboot import NodeReboot
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import wait_until
from tests.unit.run.namespaced_host import namespaced_host

HEALTHZ = "busybox wget -q -O - http://127.0.0.1:8000/healthz"


def test_the_host_is_gone_at_once_and_comes_back_in_another_boot(worker: Target) -> None:
    fault = NodeReboot()
    before = read(worker, fault.reading())
    assert fault.objection(before) is None
    [reset] = fault.apply(before)
    worker.perform(reset)
    wait_until(lambda: fault.is_applied(before, read(worker, fault.reading())), 10)
    assert fault.dose(before, read(worker, fault.reading())).confirmed
    [power] = fault.revert(before)
    worker.perform(power)
    wait_until(lambda: fault.is_reverted(before, read(worker, fault.reading())), 100)
    now = read(worker, fault.reading())
    worker.perform(reset)  # the order of another boot
    wait_until(lambda: worker.run(HEALTHZ, check=False).status == 0, 60)
    assert read(worker, fault.reading()).boot == now.boot != before.boot


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
def test_a_namespace_refuses() -> None:
    with namespaced_host() as pid:
        host = LocalTarget("there", pid)
        boot = host.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()
        [reset] = NodeReboot().apply(Power(on=True, answers=True, boot=boot))
        # what would reset this machine is out of the script's reach, whatever it does
        script = host.render(reset).do
        for file in ("/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"):
            script = script.replace(file, f"/run/{file[-7:]}")
        with pytest.raises(CommandFailed, match="this host is a container or a namespace"):
            host.run("touch /run/trigger\n" + script)
        assert host.run("cat /run/trigger").stdout == ""
        host.close()
