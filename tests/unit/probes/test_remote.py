"""A load on behalf of another machine: it ends with the interest in it, and never runs twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import probes
from probes import remote
from probes.plan import LoadPlan
from tests.unit.probes.oracle_server import running
from tests.unit.probes.running_load import plan_for, read


@pytest.fixture
def folder() -> Iterator[str]:
    folder = remote.open_folder()
    yield folder
    remote.close_folder(folder)
    assert not Path(folder).exists()


def _plan(folder: str, url: str, duration: float) -> LoadPlan:
    return plan_for(Path(folder), url, duration=duration)


def test_a_load_that_nobody_asks_after_is_ended(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LEASE", 1.5)
    with running() as server:
        plan = _plan(folder, server.url("/ok"), duration=60)
        assert remote.run(folder, plan) == 0
    outcome = read(plan, 0)
    assert 0 < len(outcome.rows) < 50 * 30
    assert set(outcome.errors) <= {"ok", "cancelled", "unsent"}


def test_a_load_that_was_told_to_end_before_it_began_sends_nothing(folder: str) -> None:
    with running() as server:
        remote.interrupt(folder)
        remote.run(folder, _plan(folder, server.url("/ok"), duration=60))
    assert server.requests == []


def test_a_second_run_sends_nothing(folder: str) -> None:
    with running() as server:
        plan = _plan(folder, server.url("/ok"), duration=0.2)
        assert remote.run(folder, plan) == 0
        sent = len(server.requests)
        assert remote.run(folder, plan) == 2
    assert sent == len(server.requests) == 10


def test_what_was_written_is_copied_block_by_block(folder: str, tmp_path: Path) -> None:
    (Path(folder) / "samples.bin").write_bytes(bytes(range(256)) * 5)
    asked = []

    def ask(offset: int) -> bytes:
        asked.append(offset)
        return remote.read(folder, "samples.bin", offset, 1000)

    remote.copy(ask, tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == bytes(range(256)) * 5
    assert asked == [0, 1000, 1280]
    remote.copy(lambda offset: remote.read(folder, "nothing", offset, 1000), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_any_difference_in_the_package_shows_in_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = remote.identity()
    copied = shutil.copytree(Path(remote.__file__).parent, tmp_path / "probes")
    monkeypatch.setattr(probes, "__file__", str(copied / "__init__.py"))
    assert remote.identity() == ours
    (copied / "wire.py").write_text("# other\n", encoding="utf-8")
    assert remote.identity() != ours
