"""A real host to put fuses on: this machine, with a home of their own in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.targets.local import LocalTarget
from tests.unit.run.running_fuses import processes_in, wait_until

SHELLS = {"dash": "dash", "bash": "bash", "busybox": "busybox"}


@pytest.fixture
def host() -> Iterator[LocalTarget]:
    target = LocalTarget("here")
    yield target
    target.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where fuses live during a test; one that is still running after it fails the test."""
    folder = tmp_path / "run gameday"
    folder.mkdir()
    yield folder
    try:
        wait_until(lambda: processes_in(folder) == [], within=3)  # busybox's timeout(1) looks once a second
    finally:
        for pid in processes_in(folder):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make `sh` mean one of the shells, for this test and every process it starts."""
    program = shutil.which(SHELLS[request.param])
    if program is None:
        pytest.skip(f"there is no {request.param} here")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return program
