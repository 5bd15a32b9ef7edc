"""setting on a host whose process 1 is a real systemd: a unit that is restarted for its file, or its environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from chaos.faults._setting import Seen
from chaos.faults.setting import Setting
from chaos.run.fuse import Fuse, Undo
from chaos.run.injector import read
from chaos.run.sweep import MARKS, sweep
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
UNITS = """
mkdir -p /etc/gd && echo '{"max_batch": 32}' >/etc/gd/engine.json && echo GD_BATCH=32 >/etc/gd/engine.env
cd /etc/systemd/system
printf '%s\\n' '[Service]' 'EnvironmentFile=/etc/gd/engine.env' 'Environment=GD_NAME="it is 100%%"' \\
    'ExecStart=sh /etc/gd/engine' >gd-engine.service
echo 'cp /etc/gd/engine.json /run/gd-read; echo $GD_BATCH >/run/gd-batch; exec sleep 5252' >/etc/gd/engine
systemctl daemon-reload; systemctl start gd-engine
"""
GONE = """
systemctl stop gd-engine; rm -rf /etc/systemd/system/gd-engine.service /etc/gd; systemctl daemon-reload
"""
BATCH = {"environment": "GD_BATCH", "restart": "gd-engine"}


@pytest.fixture(scope="module")
def host(systemd_host: LocalTarget) -> Iterator[LocalTarget]:
    systemd_host.run(UNITS)
    yield systemd_host
    systemd_host.run(GONE)


def setting(**given: Any) -> Setting:
    return Setting.model_validate(given)


def ready(host: LocalTarget, fault: Setting) -> tuple[Seen, Undo]:
    """Read it; the undo has nothing to undo, and restarts nothing."""
    before = read(host, fault.reading())
    assert fault.objection(before) is None
    undo = Undo.of(host.render(action) for action in fault.revert(before))
    host.run(undo.do)
    assert read(host, fault.reading()) == before
    assert host.run(undo.clean, check=False).status == 0
    return before, undo


def applied(host: LocalTarget, fault: Setting, before: Seen) -> None:
    """Apply it twice, which restarts it once."""
    runs = []
    for _ in range(2):
        for action in fault.apply(before):
            host.perform(action)
        wait_until(lambda: fault.is_applied(before, read(host, fault.reading())))
        wait_until(lambda: fault.dose(before, read(host, fault.reading())).confirmed, 60)
        runs.append(read(host, fault.reading()).unit["InvocationID"])
    assert runs[0] == runs[1] != before.unit["InvocationID"]


def undone(host: LocalTarget, fault: Setting, before: Seen, undo: Undo) -> None:
    """Undo it twice, which restarts it once; nothing of ours is left."""
    assert host.run(undo.clean, check=False).status != 0
    runs = []
    for _ in range(2):
        host.run(undo.do)
        assert host.run(undo.clean, check=False).status == 0
        wait_until(lambda: fault.is_reverted(before, read(host, fault.reading())))
        runs.append(read(host, fault.reading()).unit["InvocationID"])
    assert runs[0] == runs[1] != before.unit["InvocationID"]
    assert host.run("ls -d /run/systemd/system/gd-engine.service.d /run/gameday/undos; true").stdout == ""


def test_a_variable_of_a_unit_over_its_own_environment_file(host: LocalTarget) -> None:
    fault = setting(value="a \"b\" $C \\ `d` %n 'e' #", **BATCH)
    before, undo = ready(host, fault)
    assert before.value == "32"
    applied(host, fault, before)
    undone(host, fault, before, undo)
    wait_until(lambda: host.run("cat /run/gd-batch").stdout == "32\n", 60)


def test_a_variable_that_was_not_set_is_not_set_again(host: LocalTarget) -> None:
    fault = setting(value="x", environment="GD_NEW", restart="gd-engine")
    before, undo = ready(host, fault)
    assert before.value is None
    applied(host, fault, before)
    undone(host, fault, before, undo)


def test_a_file_that_the_unit_reads_when_it_starts(host: LocalTarget) -> None:
    fault = setting(value=1, file="/etc/gd/engine.json", key="max_batch", restart="gd-engine")
    before, undo = ready(host, fault)
    applied(host, fault, before)
    wait_until(lambda: host.run("cat /run/gd-read").stdout == '{"max_batch": 1}\n', 60)
    undone(host, fault, before, undo)
    wait_until(lambda: host.run("cat /run/gd-read").stdout == '{"max_batch": 32}\n', 60)
    assert host.run("ls -A /var/lib/gameday 2>/dev/null; true").stdout == ""


def test_the_fuse_puts_it_back_and_heal_does_where_the_fuse_is_lost(host: LocalTarget) -> None:
    fault = setting(value=1, **BATCH)
    before, undo = ready(host, fault)
    fuse = Fuse(host, "setting-test", undo, lease=60, ttl=60)
    fuse.arm()
    applied(host, fault, before)
    assert fuse.fire(patience=20) == "clean: on request"
    fuse.disarm()
    wait_until(lambda: fault.is_reverted(before, read(host, fault.reading())))
    before = read(host, fault.reading())
    applied(host, fault, before)
    (mark,) = (mark for mark in MARKS if mark.name == "undo that is due")
    assert [found.gone for found in sweep(host, [mark], remove=True)] == [True]
    wait_until(lambda: fault.is_reverted(before, read(host, fault.reading())))


def test_a_unit_that_fails_with_it_is_started_again(host: LocalTarget) -> None:
    fault = setting(value="}", file="/etc/gd/engine.env", match="^GD_BATCH=(.*)$", restart="gd-engine")
    before, undo = ready(host, fault)
    host.run("sed -i '1i test $GD_BATCH = 32 || exit 7' /etc/gd/engine")
    for action in fault.apply(before):
        host.perform(action)
    wait_until(lambda: read(host, fault.reading()).unit["ActiveState"] == "failed", 60)
    assert "gd-engine.service was failed" in fault.dose(before, read(host, fault.reading())).why_not
    host.run(undo.do)
    assert host.run(undo.clean, check=False).status == 0
    wait_until(lambda: fault.is_reverted(before, read(host, fault.reading())))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"environment": "A", "restart": "nosuch"}, "nosuch.service is not-found"),
        ({"environment": "A", "restart": "ssh"}, "ssh.service is what the control path"),
        ({"environment": "GD_BATCH", "restart": "gd-engine", "value": 32}, "GD_BATCH is 32 already"),
        ({"file": "/etc/gd/engine.json", "key": "max_batch", "restart": "nosuch"}, "nosuch.service is not-found"),
        ({"file": "/etc/gd/none", "key": "max_batch"}, "/etc/gd/none: [Errno 2] No such file"),
    ],
)
def test_what_could_not_be_put_back_is_objected_to(host: LocalTarget, given: dict[str, Any], why: str) -> None:
    fault = setting(**{"value": 1, **given})
    assert (fault.objection(read(host, fault.reading())) or "").startswith(why)
