"""nginx from Debian, in a folder of its own: HTTP/2 in the clear, and over TLS with client certificates."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format given "$server_protocol $request_method $uri $content_length $http_x_given";
    access_log {folder}/access.log given;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{http} http2;
        listen 127.0.0.1:{https} ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {certificate};
        ssl_client_certificate {ca}; ssl_verify_client on;
        location / {{ return 200 "ok"; }}
    }}
}}
"""


@dataclass
class Nginx:
    """Its ports and its log."""

    folder: Path
    ports: dict[str, int]

    def url(self, scheme: str, path: str) -> str:
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}{path}"

    def log(self, last: int) -> list[str]:
        """Return what it wrote of the last requests: protocol, method, path, length of the body, X-Given."""
        return (self.folder / "access.log").read_text().splitlines()[-last:]


@contextmanager
def running(folder: Path, certificate: Path, ca: Path) -> Iterator[Nginx]:
    """Serve until the block ends."""
    ports = {"http": _free_port(), "https": _free_port()}
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, certificate=certificate, ca=ca, **ports))
    argv = ["/usr/sbin/nginx", "-c", str(config), "-e", str(folder / "error.log")]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        for port in ports.values():
            _wait_open(port)
        yield Nginx(folder, ports)
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_open(port: int) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.02)
