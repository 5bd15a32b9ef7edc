"""Parts of the appliance as real processes, and a plain client to ask them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

APPLIANCE = [sys.executable, "-m", "chaos.lab.appliance"]
CHAT = {"model": "deepseek", "messages": [{"role": "user", "content": "hello"}]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*argv: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*APPLIANCE, *argv], **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()


Answer = tuple[int, dict[str, str], bytes]


def ask(port: int, method: str, path: str, body: object = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def chat(port: int, **extra: object) -> Answer:
    return ask(port, "POST", "/v1/chat/completions", {**CHAT, **extra})


def healthz(port: int) -> tuple[int, Any]:
    try:
        status, _, body = ask(port, "GET", "/healthz")
    except OSError:
        return 0, None
    return status, json.loads(body)


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def child_of(pid: int) -> int:
    """Return the pid of the only child, 0 where there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)')


def metrics(port: int) -> dict[str, float]:
    """Return `name{labels}` -> value, the labels in order; every line must be in the text format."""
    status, headers, body = ask(port, "GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    return parse_metrics(body.decode())


def parse_metrics(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith(("# HELP ", "# TYPE ")):
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        key = match[1] + (f"{{{match[2]}}}" if match[2] else "")
        assert key not in found, f"twice: {key}"
        found[key] = float(match[3])
    return found


def total(found: dict[str, float], name: str, *labels: str) -> float:
    """Sum the samples of a family that have all the labels given as `name="value"`."""
    return sum(v for k, v in found.items() if k.split("{")[0] == name and all(label in k for label in labels))
