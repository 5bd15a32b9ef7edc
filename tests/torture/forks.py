"""What a trial starts, the controller of its fault and `gameday heal`, forked from an interpreter that stands ready.

To start an interpreter and load all that is what would cost most of a trial. One stands ready for each host, where the
host is reached from; what it forks is a process as any other. It is asked in lines of JSON, one answered by a line:

    {"do": "controller" | "gameday", "arguments": [...], "environment": {...}, "output": FILE, "patience": s}   -> pid
    {"wait": pid, "most": s}                                                            -> exit status, or null
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos import catalog
from chaos.cli.app import app
from chaos.errors import ChaosError
from chaos.run import heal, injector
from chaos.targets import ssh
from tests.torture import controller

_LOADED = (ssh, catalog)


class Forks:
    """An interpreter that stands ready; `enter_command` begins its command line."""

    def __init__(self, enter_command: Sequence[str] = ()) -> None:
        argv = [*enter_command, sys.executable, "-m", "tests.torture.forks"]
        self._server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, do: str, arguments: Sequence[str], output: Path, **more: Any) -> Child:
        """Start a controller, or gameday; what it says is appended to `output`."""
        return Child(self, self.ask({"do": do, "arguments": list(arguments), "output": str(output), **more}), output)

    def ask(self, request: dict[str, Any]) -> Any:
        """Return the answer to a request."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """End it."""
        with self._server:
            pass


@dataclass(frozen=True)
class Child:
    """A process that was started. It is there, if only as a zombie, until it was waited for."""

    forks: Forks
    pid: int
    output: Path

    def wait(self, most: float) -> int | None:
        """Return how it ended (minus its signal), or None where it has not within so many s."""
        status: int | None = self.forks.ask({"wait": self.pid, "most": most})
        return status

    def said(self) -> str:
        """Return what it has said."""
        return self.output.read_text()


def serve() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(request["wait"], request["most"]) if "wait" in request else _fork(request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _wait(pid: int, most: float) -> int | None:
    ended = os.pidfd_open(pid)
    try:
        if not select.select([ended], [], [], most)[0]:
            return None
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(ended)


def _fork(request: dict[str, Any]) -> int:
    if child := os.fork():
        return child
    status = 70
    try:
        status = _become(request)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _become(request: dict[str, Any]) -> int:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for there, here in enumerate((null, output, output)):
        os.dup2(here, there)
    os.environ.update(request.get("environment", {}))
    if (patience := request.get("patience")) is not None:
        injector._PATIENCE = heal._PATIENCE = patience
    if request["do"] == "controller":
        return controller.run(json.loads(request["arguments"][0]))
    return _gameday(request["arguments"])


def _gameday(arguments: list[str]) -> int:
    """Run the command line; return the exit status that `gameday` would have."""
    try:
        app(arguments)
    except ChaosError as error:
        sys.stderr.write(f"gameday: {error}\n")
        return int(error.exit_code)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    catalog.faults()
    serve()
