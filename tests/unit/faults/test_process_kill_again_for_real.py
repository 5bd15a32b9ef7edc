"""process_kill, again and again, on a host in namespaces with a supervisor: who dies, who does not, and who is back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults.process_kill import ProcessKill
from chaos.run.injector import read
from tests.hosts import SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

SUPERVISED = "setsid sh -c 'while [ ! -e /run/given-up ]; do sleep 77.1; echo >>/run/starts; done' >/dev/null 2>&1 &"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as made, made.as_controller():
        yield made


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    target.run(f"rm -f /run/given-up /run/starts; {SUPERVISED} sleep 0.2; setsid sleep 77.2 >/dev/null 2>&1 &")
    yield target
    target.run("touch /run/given-up; pkill -f '^sleep 77'; true")
    target.close()


def again() -> ProcessKill:
    return ProcessKill.model_validate({"match": r"^sleep 77\.1$", "every": "300ms"})


def test_what_is_started_again_is_killed_again_until_it_is_let_go(host: Target) -> None:
    standing = Standing(host, again())
    standing.apply()
    assert standing.is_applied()
    dose = standing.eventually(standing.dose, lambda dose: dose.achieved["kills"] >= 4)
    assert dose.confirmed
    assert dose.achieved["rounds"] >= dose.achieved["kills"], "one at a time"
    standing.eventually(lambda: len(host.run("cat /run/starts").stdout) >= 4)
    assert host.run("pgrep -xfc 'sleep 77.2'").stdout == "1\n", "another is left alone"
    host.probe_control_path()
    for action in standing.fault.revert(standing.before):
        host.perform(action)
    standing.eventually(standing.is_reverted)
    assert standing.fuse.reads_clean()
    now = read(host, standing.fault.reading()).processes
    assert read(host, standing.fault.reading()).processes == now, "it lives"
    standing.fuse.disarm()


def test_one_whose_supervisor_gave_up_is_not_clean_and_a_restart_brings_it_back(host: Target) -> None:
    fault = again().model_copy(update={"restart": f"rm /run/given-up; {SUPERVISED}"})
    standing = Standing(host, fault)
    host.run("touch /run/given-up")
    standing.eventually(lambda: host.run("pgrep -xfc 'sleep 77.1'; true").stdout == "0\n")
    assert not standing.fuse.reads_clean()
    assert standing.fuse.fire(patience=20) == "clean: on request"
    standing.eventually(standing.is_reverted)
    standing.fuse.disarm()


def test_how_often_has_a_floor() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.2"):
        ProcessKill.model_validate({"match": "x", "every": "50ms"})
