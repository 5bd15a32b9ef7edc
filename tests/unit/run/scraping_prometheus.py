"""A real Prometheus that scrapes an endpoint of ours, whose counters follow a script.

Prometheus looks for new targets every five seconds, so its first scrape comes about that long after it starts.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

RATE = 100.0  # requests/s offered, at all times
SCRAPES = 0.1  # s


@dataclass
class Service:
    """Serves every request but those of its outage [begin, end), in s of CLOCK_MONOTONIC, which fail."""

    outage: tuple[float, float] = (float("inf"), float("inf"))
    started: float = field(default_factory=time.monotonic)

    def metrics(self) -> str:
        """Return the counters as they are at this moment."""
        now = time.monotonic()
        begin, end = (min(max(edge, self.started), now) for edge in self.outage)
        failed, all_ = RATE * (end - begin), RATE * (now - self.started)
        return f'# TYPE done counter\ndone{{code="200"}} {all_ - failed}\ndone{{code="500"}} {failed}\n'


@contextmanager
def serving(service: Service) -> Iterator[int]:
    """Answer scrapes until the block ends; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is http.server's
            body = service.metrics().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Prometheus:
    """One that runs: its address, and its process for who wants to end it early."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def prometheus(folder: Path, target: int | None = None) -> Iterator[Prometheus]:
    """Run one until the block ends; with a target's port, from its first scrapes on."""
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
            _wait(running, "count_over_time(done[1s]) > 4" if target else "vector(1)")
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
