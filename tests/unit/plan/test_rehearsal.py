"""A rehearsed fault looks as the real one does and acts not at all."""

from __future__ import annotations

from chaos.contracts import Shell
from chaos.faults.netem import Netem
from chaos.faults.node_kill import NodeKill
from chaos.faults.process_kill import ProcessKill
from chaos.faults.process_pause import ProcessPause
from chaos.kernel import Process
from chaos.plan.rehearsal import rehearsed
from chaos.run.injector import read
from chaos.testing import FakeTarget

RUNNING = Process(pid=7, started=70, state="S", command="sleep 9")


def test_it_is_the_real_fault_in_all_that_looks() -> None:
    for real in (Netem(interface="eth0", delay="50ms"), NodeKill(), ProcessKill(match="x"), ProcessPause(match="x")):
        fault = rehearsed(real)
        assert fault.model_dump() == real.model_dump()
        assert (fault.kind, fault.needs, fault.settle, fault.undo_from, fault.lasts, fault.asked()) == (
            real.kind, real.needs, real.settle, real.undo_from, real.lasts, real.asked(),
        )  # fmt: skip
        assert fault.reading().questions == real.reading().questions
        assert "rehearsal" in fault.release


def test_it_objects_and_knows_a_clean_host_as_the_real_one_does() -> None:
    fault = rehearsed(ProcessPause(match="sleep 9"))
    assert fault.objection(()) == ProcessPause(match="sleep 9").objection(())
    stopped = (Process(pid=7, started=70, state="T", command="sleep 9"),)
    assert fault.is_reverted((RUNNING,), (RUNNING,))
    assert not fault.is_reverted((RUNNING,), stopped)


def test_its_actions_do_nothing() -> None:
    host = FakeTarget(processes=[RUNNING])
    fault = rehearsed(ProcessKill(match="sleep 9", restart="touch /tmp/never"))
    before = read(host, fault.reading())
    actions = [*fault.apply(before), *fault.revert(before)]
    assert actions == [Shell("true")] * 2
    for action in actions:
        host.perform(action)
    assert host.processes == [RUNNING]
    assert fault.is_applied(before, before)
    assert fault.dose(before, before).confirmed
