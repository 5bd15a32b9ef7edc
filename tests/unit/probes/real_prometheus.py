"""A real Prometheus on loopback, from Debian's package `prometheus`.

It looks for new targets every five seconds, so its first scrape comes about that long after it starts. Without a target
it is asked as soon as it answers, for expressions that need no scrape.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

SCRAPES = 0.1  # s


@dataclass
class Prometheus:
    """One that runs: its address, and its process for who wants to end it early."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def prometheus(folder: Path, target: int | None = None, *, scraped: bool = True) -> Iterator[Prometheus]:
    """Run one until the block ends; with a target's port from its first scrapes on, or, not `scraped`, from before."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scrapes = f"[{{job_name: service, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]" if target else "[]"
    every = f"{round(SCRAPES * 1000)}ms"
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {every}, scrape_timeout: {every}}}\nscrape_configs: {scrapes}\n"
    )
    argv = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    argv += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        running = Prometheus(f"http://127.0.0.1:{port}", process)
        try:
            _wait(running, "count_over_time(done[1s]) > 4" if target and scraped else "vector(1)")
            yield running
        finally:
            process.kill()


def _wait(running: Prometheus, query: str) -> None:
    """Wait until a query has a value."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert running.process.poll() is None
        try:
            answer = httpx.get(f"{running.url}/api/v1/query", params={"query": query}, trust_env=False)
            if answer.status_code == 200 and answer.json()["data"]["result"]:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"prometheus never had a value for {query}")
