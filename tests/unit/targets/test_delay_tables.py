"""The distributions that tc reads while it makes a netem: there for it, ours alone, and gone whatever becomes of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chaos import delay_tables
from chaos.contracts import PlantQdisc, UprootQdisc
from chaos.faults.netem import Netem
from chaos.targets import _tc

GIVEN = {
    "interface": "none0",
    "delay": "20ms",
    "jitter": "5ms",
    "samples": ["9ms", "10ms", "31ms"],
    "slot": {"distribution": "pareto", "delay": "5ms", "jitter": "1ms"},
}
SHELLS = ["dash", "bash", "busybox sh"]
LOOK = 'case $* in *-batch*) ls -ld "$TC_LIB_DIR"; cat "$TC_LIB_DIR"/samples.dist; exit {} ;; esac'


def actions() -> tuple[PlantQdisc, UprootQdisc]:
    fault = Netem.model_validate(GIVEN)
    (plant,), (uproot,) = fault.apply(fault.typical()), fault.revert(fault.typical())
    assert isinstance(plant, PlantQdisc)
    assert isinstance(uproot, UprootQdisc)
    return plant, uproot


def run(shell: str, script: str, tools: Path) -> subprocess.CompletedProcess[str]:
    """Run sh with the `tc` and `ip` in a folder before all others."""
    path = f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(
        [*shell.split(), "-c", script], capture_output=True, text=True, check=False, env={"PATH": path}
    )


@pytest.mark.parametrize("status", [0, 2])
@pytest.mark.parametrize("shell", SHELLS[:2])  # busybox would take an ip and a tc of its own
def test_tc_finds_them_and_they_go_with_it(
    shell: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tc` and `ip` here only look; whatever tc ends with is what the whole ends with."""
    monkeypatch.setattr(_tc, "TABLES", str(tmp_path / "tables"))
    for name, does in (("tc", LOOK.format(status)), ("ip", "cat >/dev/null")):
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = run(shell, _tc.plant(actions()[0]).do, tmp_path)
    assert done.returncode == status
    assert done.stdout.startswith("drwx------")
    table = delay_tables.text_of([0.009, 0.010, 0.031])
    assert " ".join(done.stdout.split("\n", 1)[1].split()) == table
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_undo_takes_away_what_a_making_that_was_cut_off_has_left(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tc, "TABLES", str(tmp_path / "tables"))
    undo = _tc.uproot(actions()[1])
    (tmp_path / "tables" / "none0.gameday2t0").mkdir(parents=True)
    assert run(shell, undo.until, tmp_path).returncode != 0
    for _ in range(2):
        assert run(shell, undo.do, tmp_path).returncode == 0
        assert run(shell, undo.until, tmp_path).returncode == 0
        assert not (tmp_path / "tables").exists()
