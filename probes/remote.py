"""A load on another machine, by functions that a Dask worker there runs; this package is all they need.

`run` is the task: it takes its worker's thread and puts the load into a process of its own, so that neither Dask's loop
nor its interpreter lock disturbs it. It must run once: a second run in the same folder finds the samples there and
refuses. The others are short and are called beside it, in the worker's loop.

A load must not run on without who asked for it. Whoever did has to call `watch` at least every LEASE seconds, or the
load is ended. It also ends with its worker, whose child it is.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

import probes
from probes.load import CALL_OFF
from probes.plan import LoadPlan

LEASE = 15.0  # s
BLOCK = 4 * 2**20
PLAN, LOG = "load.json", "load.log"
_LOOK = 0.25  # s
_LAST_ROWS = 15.0  # s that a load has to write them, once told to end
_heard: dict[str, float] = {}
_told: set[str] = set()
_running: dict[str, subprocess.Popen[bytes]] = {}


def identity() -> str:
    """Return what must be the same on all machines: a digest of the sources of this package."""
    digest, folder = hashlib.sha256(), Path(probes.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def clock() -> int:
    """Return CLOCK_MONOTONIC of this machine in ns."""
    return time.monotonic_ns()


def open_folder() -> str:
    """Make a folder for the files of one load, and return its path."""
    return tempfile.mkdtemp(prefix="gameday-load-")


def run(folder: str, plan: LoadPlan) -> int:
    """Run a load whose files are in `folder` to its end, and return its exit status."""
    path = Path(folder) / PLAN
    plan.write(path)
    _heard[folder] = time.monotonic()
    with (Path(folder) / LOG).open("wb") as log:
        argv = [sys.executable, "-m", "probes.load", str(path)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    _running[folder] = process
    try:
        return _ended(process, folder)
    finally:
        del _running[folder]
        process.kill()
        process.wait()
        assert process.stdin is not None, "it is a pipe"
        process.stdin.close()


def _ended(process: subprocess.Popen[bytes], folder: str) -> int:
    """Wait for the load; end it when told to, and when nobody has asked after it for too long."""
    while folder not in _told and time.monotonic() - _heard[folder] < LEASE:
        try:
            return process.wait(_LOOK)
        except subprocess.TimeoutExpired:
            continue
    process.terminate()
    return process.wait(_LAST_ROWS)


def interrupt(folder: str) -> None:
    """Tell the load to end; it records what is in flight."""
    _told.add(folder)


def call_off(folder: str, overlay: int) -> None:
    """Tell the load to leave out what an overlay still has to come; nobody is told where it runs no more."""
    process = _running.get(folder)
    if process is not None and process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.write(f"{CALL_OFF} {overlay}\n".encode())
            process.stdin.flush()


def watch(folder: str, name: str, spans: list[tuple[int, int]]) -> list[bytes]:
    """Return spans (offset, length) of a file while a load writes it, and keep the load alive by asking."""
    if folder in _heard:
        _heard[folder] = time.monotonic()
    return [read(folder, name, *span) for span in spans]


def read(folder: str, name: str, offset: int, length: int) -> bytes:
    """Return a part of a file, nothing behind its end or where there is no such file."""
    try:
        with (Path(folder) / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except FileNotFoundError:
        return b""


def copy(ask: Callable[[int], bytes], into: Path) -> None:
    """Write a file block by block as `ask` gives what follows an offset; no file where there is nothing."""
    with into.open("wb") as file:
        while block := ask(file.tell()):
            file.write(block)
    if not into.stat().st_size:
        into.unlink()


def close_folder(folder: str) -> None:
    """Take the folder away."""
    _heard.pop(folder, None)
    _told.discard(folder)
    rmtree(folder, ignore_errors=True)
