"""Helpers for tests with fuses that really run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from chaos.contracts import Target
from chaos.run.fuse import Fuse, Undo


def processes_in(folder: Path) -> list[int]:
    """The processes whose working directory is in a folder: that is where a fuse stands."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        try:
            inside = Path(cwd.readlink()).is_relative_to(folder)
        except OSError:
            continue  # it ended while we looked
        if inside:
            found.append(int(cwd.parent.name))
    return found


def wait_until(true: Callable[[], bool], within: float = 8.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.02)


def fuse_for(host: Target, home: Path, *, lease: float = 60, ttl: float = 60, undo: Undo | None = None) -> Fuse:
    """A fuse whose fault is the file `fault` in the home's parent: its undo removes it."""
    fault = home.parent / "fault"
    return Fuse(host, "f-0", undo or Undo(f"rm -f '{fault}'\n", f"[ ! -e '{fault}' ]\n"), lease, ttl, str(home))


def fault_of(home: Path) -> Path:
    """Bring about the fault that `fuse_for` undoes."""
    fault = home.parent / "fault"
    fault.touch()
    return fault


def pid_of(fuse: Fuse) -> int:
    return int(Path(fuse.folder, "pid").read_text())
