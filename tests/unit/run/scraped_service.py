"""An endpoint for a Prometheus to scrape, whose counters follow a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RATE = 100.0  # requests/s offered, at all times


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
