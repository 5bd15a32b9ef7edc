"""The servers the clients meet: nginx with nothing to do, and the chat server; both on loopback, both ours alone."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.processes import BenchError, python, started

_STARTING = 10.0  # s
_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ default_type text/plain; return 200 "ok\\n"; }}
    }}
}}
"""


@contextmanager
def nginx(core: int) -> Iterator[str]:
    """Serve 3 bytes on every path, from one process on one core; gives the URL."""
    with TemporaryDirectory(prefix="gameday-bench-") as name:
        folder, port = Path(name), free_port()
        config, errors = folder / "nginx.conf", folder / "error.log"
        config.write_text(_NGINX.format(folder=folder, port=port), encoding="ascii")
        argv = ["/usr/sbin/nginx", "-e", str(errors), "-p", name, "-c", str(config)]
        with started(core, argv) as process:
            wait_listening(process, port)
            yield f"http://127.0.0.1:{port}/"


@contextmanager
def chat_server(core: int, stamps: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve streamed chat completions from one core; `stamps` is written when it ends."""
    port = free_port()
    with started(core, python("scripts.benchmarks.chat_server", str(port), str(stamps))) as process:
        wait_listening(process, port)
        yield f"http://127.0.0.1:{port}/v1/chat/completions", process


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_listening(process: subprocess.Popen[str], port: int) -> None:
    """Return when the port accepts connections. Raises BenchError when the process ends first, or after 10 s."""
    until = time.monotonic() + _STARTING
    while time.monotonic() < until:
        if process.poll() is not None:
            raise BenchError(f"the server ended at once: {process.communicate()[1][-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise BenchError(f"the server does not listen on port {port} after {_STARTING:g} s")
