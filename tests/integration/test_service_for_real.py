"""service on a host whose process 1 is a real systemd: what answers while it is stopped, and what runs again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from chaos.contracts import Fault
from chaos.faults.service import Service, Units
from chaos.run.fuse import Fuse, Undo
from chaos.run.injector import read
from chaos.run.sweep import MARKS, sweep
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
UNITS = """
cd /etc/systemd/system
unit() { printf '%s\\n' "$2" "$3" "$4" "$5" >"$1"; }
unit gd-web.service '[Service]' 'ExecStart=busybox httpd -f -p 127.0.0.1:8123 -h /tmp' Restart=always RestartSec=100ms
unit gd-needs.service '[Unit]' 'Requires=gd-web.service' '[Service]' 'ExecStart=sleep 4242'
unit gd-idle.service '[Unit]' 'Requires=gd-web.service' '[Service]' 'ExecStart=sleep 4243'
unit gd-door.service '[Service]' 'ExecStart=sleep 4244' '' ''
unit gd-door.socket '[Socket]' 'ListenStream=127.0.0.1:8124' '' ''
unit gd-slow.service '[Service]' 'ExecStart=sleep 4245' 'ExecStartPre=sleep 1' 'ExecStop=sleep 1'
ln -sf gd-web.service gd-alias.service
systemctl daemon-reload
systemctl start gd-web gd-needs gd-door.socket gd-door gd-slow
"""
GONE = """
systemctl stop 'gd-*' 2>/dev/null; rm -f /etc/systemd/system/gd-*; systemctl daemon-reload; systemctl reset-failed
"""


@pytest.fixture(scope="module")
def host(systemd_host: LocalTarget) -> Iterator[LocalTarget]:
    systemd_host.run(UNITS)
    yield systemd_host
    systemd_host.run(GONE)


def answers(host: LocalTarget) -> bool:
    return host.run("busybox nc -w 1 127.0.0.1 8123 </dev/null", check=False).status == 0


def becomes(host: LocalTarget, fault: Fault[Units], test: Callable[[Units, Units], bool], before: Units) -> None:
    wait_until(lambda: test(before, read(host, fault.reading())))


def ready(host: LocalTarget, fault: Service) -> tuple[Units, Undo]:
    """Read it; the undo has nothing to undo, and does no harm."""
    before = read(host, fault.reading())
    assert fault.objection(before) is None
    undo = Undo.of(host.render(action) for action in fault.revert(before))
    host.run(undo.do)
    assert read(host, fault.reading()).unit["InvocationID"] == before.unit["InvocationID"]
    assert host.run(undo.clean, check=False).status == 0
    return before, undo


def act(host: LocalTarget, fault: Service, before: Units) -> None:
    for action in fault.apply(before):
        host.perform(action)


def is_active(host: LocalTarget, *units: str) -> list[str]:
    return host.run(f"systemctl is-active {' '.join(units)}; true").stdout.split()


@pytest.mark.parametrize("name", ["gd-web", "gd-alias.service"])
def test_a_stopped_service_does_not_answer_and_all_that_ran_runs_again(host: LocalTarget, name: str) -> None:
    fault = Service(unit=name)
    before, undo = ready(host, fault)
    assert before.active == ("gd-web.service", "gd-needs.service")
    assert answers(host)
    for _ in range(2):
        act(host, fault, before)
        becomes(host, fault, fault.is_applied, before)
    wait_until(lambda: fault.dose(before, read(host, fault.reading())).confirmed)
    assert not answers(host)
    assert is_active(host, "gd-needs") == ["inactive"], "it requires what was stopped"
    assert host.run(undo.clean, check=False).status != 0
    for _ in range(2):
        host.run(undo.do)
        becomes(host, fault, fault.is_reverted, before)
        assert host.run(undo.clean, check=False).status == 0
    wait_until(lambda: answers(host))
    assert is_active(host, "gd-web", "gd-needs", "gd-idle") == ["active", "active", "inactive"]


def test_a_restart_is_another_run_and_is_one_however_often_it_is_asked_for(host: LocalTarget) -> None:
    fault = Service(unit="gd-web", action="restart")
    before, undo = ready(host, fault)
    act(host, fault, before)
    wait_until(lambda: read(host, fault.reading()).unit["InvocationID"] != before.unit["InvocationID"])
    becomes(host, fault, fault.is_reverted, before)
    first = read(host, fault.reading())
    act(host, fault, before)
    host.run(undo.do)
    now = read(host, fault.reading())
    assert now.unit["InvocationID"] == first.unit["InvocationID"]
    assert (fault.is_applied(before, now), fault.dose(before, now).achieved) == (True, {"restarts": 1.0})
    host.run("kill -9 $(systemctl show --value -p MainPID gd-web)")
    wait_until(lambda: fault.dose(before, read(host, fault.reading())).achieved == {"restarts": 2.0})
    becomes(host, fault, fault.is_reverted, before)


def test_a_masked_one_is_not_started_by_anybody_and_runs_again_in_the_end(host: LocalTarget) -> None:
    fault = Service(unit="gd-web", action="mask")
    before, undo = ready(host, fault)
    for _ in range(2):
        act(host, fault, before)
        becomes(host, fault, fault.is_applied, before)
    wait_until(lambda: fault.dose(before, read(host, fault.reading())).confirmed)
    assert "Assertion failed" in host.run("systemctl start gd-web 2>&1", check=False).stdout
    assert not answers(host)
    assert host.run(undo.clean, check=False).status != 0
    (mark,) = (mark for mark in MARKS if mark.name == "undo that is due")
    assert [found.gone for found in sweep(host, [mark], remove=True)] == [True]
    becomes(host, fault, fault.is_reverted, before)
    assert host.run(undo.clean, check=False).status == 0
    host.run(undo.do)
    assert is_active(host, "gd-web", "gd-needs", "gd-idle") == ["active", "active", "inactive"]
    assert host.run("ls -d /run/systemd/system/gd-web.service.d /run/gameday/undos; true").stdout == ""


def test_what_would_start_it_again_is_stopped_with_it(host: LocalTarget) -> None:
    fault = Service(unit="gd-door")
    before, undo = ready(host, fault)
    act(host, fault, before)
    becomes(host, fault, fault.is_applied, before)
    host.run("busybox nc -w 1 127.0.0.1 8124 </dev/null", check=False)
    assert is_active(host, "gd-door.service", "gd-door.socket") == ["inactive", "inactive"]
    host.run("systemctl start gd-door.service")  # by somebody; and a socket can't follow its service
    host.run(undo.do)
    becomes(host, fault, fault.is_reverted, before)
    assert is_active(host, "gd-door.service", "gd-door.socket") == ["active", "active"]


def test_one_that_takes_its_time_is_waited_for_by_the_undo_alone(host: LocalTarget) -> None:
    fault = Service(unit="gd-slow")
    before, undo = ready(host, fault)
    act(host, fault, before)
    becomes(host, fault, fault.is_applied, before)
    assert not fault.dose(before, read(host, fault.reading())).confirmed, "it is being stopped"
    host.run(undo.do)
    assert fault.is_reverted(before, read(host, fault.reading()))


def test_the_fuse_starts_it_again(host: LocalTarget) -> None:
    fault = Service(unit="gd-web")
    before, undo = ready(host, fault)
    fuse = Fuse(host, "service-test", undo, lease=60, ttl=60)
    fuse.arm()
    act(host, fault, before)
    assert fuse.fire(patience=15) == "clean: on request"
    fuse.disarm()
    assert fault.is_reverted(before, read(host, fault.reading()))


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ("nosuch", "nosuch.service is not-found"),
        ("ssh", "ssh.service is what the control path"),
        ("sshd", "ssh.service is what the control path"),
        ("systemd-journald", "systemd-journald.service is what the control path"),
        ("gd-idle", "gd-idle.service is inactive already"),
    ],
)
def test_what_can_not_be_let_go_is_objected_to(host: LocalTarget, unit: str, why: str) -> None:
    fault = Service(unit=unit)
    assert (fault.objection(read(host, fault.reading())) or "").startswith(why)


def test_a_transient_one_and_one_whose_file_was_changed_are_objected_to(host: LocalTarget) -> None:
    host.run("systemd-run --quiet --unit=gd-passing sleep 4246; echo '[Install]' >>/etc/systemd/system/gd-slow.service")
    passing, slow = Service(unit="gd-passing"), Service(unit="gd-slow")
    assert "once stopped it is gone" in (passing.objection(read(host, passing.reading())) or "")
    assert "`systemctl daemon-reload` first" in (slow.objection(read(host, slow.reading())) or "")
    host.run("systemctl stop gd-passing; systemctl daemon-reload")


def test_who_would_stop_itself_is_objected_to(host: LocalTarget) -> None:
    fault = Service(unit="gd-web")
    before = read(host, fault.reading())
    ours = Units(before.unit, before.others, "/0::/system.slice/gd-web.service")
    assert "is what this controller, and so its fuse, runs in" in (fault.objection(ours) or "")
