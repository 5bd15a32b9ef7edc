"""Processes pinned to a core and ended by their id whatever happens; the kernel does it where this one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
_GRACE = 10.0  # s between asking a process to end and killing it


class BenchError(Exception):
    """Something that a benchmark needs did not work; the message says what."""


def pinned(core: int, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` on one core, and not longer than its parent (setpriv(1), taskset(1))."""
    return ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(core), *argv]


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python; ROOT must be its working directory."""
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def started(
    core: int, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command beside the body, and end it with the body."""
    with _popen(core, argv, environment) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, wait, and kill it where that does not help."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def finished(core: int, argv: Sequence[str], limit: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output. Raises BenchError when it fails or takes too long."""
    with started(core, argv, environment) as process:
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{argv[0]}: not done after {limit:g} s: {' '.join(argv)}") from None
    if process.returncode:
        raise BenchError(f"{' '.join(argv)}: exit status {process.returncode}\n{err[-2000:]}")
    return out


def _popen(core: int, argv: Sequence[str], environment: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            pinned(core, argv),
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise BenchError(f"{argv[0]}: can't be started: {error}") from error


def end_when_told() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into an exit that runs every `finally` on its way."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used: utime and stime of proc(5), fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10^6 bytes)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
