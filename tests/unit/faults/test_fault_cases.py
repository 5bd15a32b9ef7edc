"""Every case in tests/cases/faults of a fault on hosts: what these really printed, and what each fault makes of it.

The netem cases were recorded on Linux 6.1 with iproute2 6.1, where `apply` and `revert` were run as they stand here;
the process cases in a PID namespace; the partition cases with nftables 1.0.6 in a network namespace.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chaos import catalog
from chaos.contracts import Fault
from chaos.run.injector import read
from tests.unit.faults.fault_transcript import Transcript

CASES = Path(__file__).parents[2] / "cases" / "faults"
ALL = [path for kind, _ in catalog.faults() for path in sorted((CASES / kind).glob("*.json"))]
ACTING = [path for path in ALL if json.loads(path.read_text())["objection"] is None]


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def load(path: Path) -> tuple[dict[str, Any], Fault[Any], Transcript, Any]:
    case = json.loads(path.read_text(encoding="utf-8"))
    fault = catalog.faults().get(path.parent.name).model_validate(case["fault"])
    host = Transcript(case["before"])
    return case, fault, host, read(host, fault.reading())


@pytest.mark.parametrize("path", ALL, ids=name)
def test_objection(path: Path) -> None:
    case, fault, _, before = load(path)
    assert fault.objection(before) == case["objection"]


@pytest.mark.parametrize("path", ACTING, ids=name)
def test_commands(path: Path) -> None:
    case, fault, host, before = load(path)
    revert = [host.render(action) for action in fault.revert(before)]
    assert [host.render(action).do for action in fault.apply(before)] == case["apply"]
    assert [action.do for action in revert] == case["revert"]
    assert [action.until for action in revert] == case["clean"]


@pytest.mark.parametrize("path", ACTING, ids=name)
def test_later_readings(path: Path) -> None:
    case, fault, _, before = load(path)
    assert case["later"]
    for later in case["later"]:
        now = read(Transcript(later), fault.reading())
        dose = fault.dose(before, now)
        assert fault.is_applied(before, now) == later["is_applied"], later["about"]
        assert fault.is_reverted(before, now) == later["is_reverted"], later["about"]
        assert {"achieved": dose.achieved, "confirmed": dose.confirmed, "why_not": dose.why_not} == later["dose"]


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_every_command_parses_in_every_shell(shell: str) -> None:
    for path in ACTING:
        case = json.loads(path.read_text())
        for script in (*case["apply"], *case["revert"], *case["clean"]):
            done = subprocess.run([*shell.split(), "-n", "-c", script], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), f"{name(path)}: {script}"
