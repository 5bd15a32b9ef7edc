"""http on a host in namespaces, before a real server of the test's own: who is harmed, and that all else passes."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults.http import Http
from chaos.run.injector import read
from tests.hosts import SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

PORT = 8000
# says what it was sent, in chunks; /slow a piece at a time; over TLS on another port
SERVER = """
import http.server, socket, socketserver, ssl, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        while self.headers.get("transfer-encoding") and (size := int(self.rfile.readline(), 16)) >= 0:
            body += self.rfile.read(size); self.rfile.readline()
            if not size: break
        self.send_response(200); self.send_header("transfer-encoding", "chunked"); self.end_headers()
        for piece in (self.path.encode(), b"|", body):
            if piece: self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(piece), piece)); self.wfile.flush()
            if "slow" in self.path: time.sleep(0.4)
        self.wfile.write(b"0\\r\\n\\r\\n")
    do_POST = do_GET
    def log_message(self, *_): pass
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True
server = Server(("::", 8000), Handler)
tls = Server(("::", 8443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1])
tls.socket = context.wrap_socket(tls.socket, server_side=True)
threading.Thread(target=tls.serve_forever, daemon=True).start()
print("ready", flush=True)
server.serve_forever()
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as made, made.as_controller():
        pem = made.folder / "pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        output = ["-subj", "/CN=x", "-keyout", str(pem), "-out", str(made.folder / "cert")]
        subprocess.run([*command, *output], check=True, capture_output=True)
        pem.write_text(pem.read_text() + (made.folder / "cert").read_text())
        enter = [
            "nsenter",
            "--target",
            str(made.pid_of(made.names[0])),
            "--net",
            sys.executable,
            "-c",
            SERVER,
            str(pem),
        ]
        with subprocess.Popen(enter, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            yield made
            server.kill()


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()


@pytest.fixture(params=["4", "6"])
def address(hosts: SshHosts, request: pytest.FixtureRequest) -> str:
    name = hosts.names[0]
    return hosts.address(name) if request.param == "4" else hosts.address6(name)


@pytest.fixture
def v4(hosts: SshHosts) -> str:
    return hosts.address(hosts.names[0])


@contextmanager
def connection(address: str) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection(address, PORT, timeout=20)
    try:
        yield made
    finally:
        made.close()


def say(made: http.client.HTTPConnection, path: str, method: str = "GET", body: Any = None) -> tuple[int, bytes]:
    made.request(method, path, body)
    answer = made.getresponse()
    return answer.status, answer.read()


def http_fault(**given: Any) -> Http:
    return Http.model_validate({"port": PORT, **given})


def counts(standing: Standing, **expected: float) -> None:
    standing.eventually(standing.dose, lambda dose: dose.achieved == expected)


def test_an_error_for_a_path_and_a_method_and_the_truth_for_all_else(host: Target, address: str) -> None:
    with connection(address) as former:
        assert say(former, "/a") == (200, b"/a|")
        standing = Standing(host, http_fault(status=503, path="^/bad", methods=["POST"]))
        standing.apply()
        assert standing.is_applied()
        assert say(former, "/bad", "POST") == (200, b"/bad|"), "it was opened before"
        assert "no request came by a connection that was opened under the fault" in standing.dose().why_not
        with connection(address) as made:
            big = b"x" * 300_000
            assert say(made, "/bad", "POST", big)[0] == 503
            kept = made.sock
            assert say(made, "/bad") == (200, b"/bad|")
            assert say(made, "/good", "POST", big) == (200, b"/good|" + big)
            assert say(made, "/good", "POST", iter([b"ab", b"", b"c" * 70_000])) == (200, b"/good|ab" + b"c" * 70_000)
            assert say(made, "/bad", "POST", iter([b"ab", b"c"]))[0] == 503
            assert say(made, "/bad?x", "POST") != (200, b"/bad?x|")
            assert made.sock is kept, "all on one connection"
        counts(standing, requests=6.0, harmed=3.0)
        host.probe_control_path()
        standing.undo()
        assert say(former, "/bad", "POST") == (200, b"/bad|")
    with connection(address) as made:
        assert say(made, "/bad", "POST") == (200, b"/bad|")


def test_late_and_streams_are_passed_on_as_they_come(host: Target, v4: str) -> None:
    standing = Standing(host, http_fault(latency="300ms", path="late"))
    with connection(v4) as made:
        began = time.monotonic()
        assert say(made, "/late") == (200, b"/late|")
        assert time.monotonic() - began >= 0.3
        made.request("GET", "/slow")
        answer = made.getresponse()
        first, at = answer.read1(), time.monotonic()
        assert (first, answer.read()) == (b"/slow", b"|")
        assert time.monotonic() - at >= 0.3, "the first piece came before the second was sent"
    counts(standing, requests=2.0, harmed=1.0)
    local = host.run(f"{sys.executable} -c 'import urllib.request as r; "
                     'print(r.urlopen("http://localhost:8000/late").read())\'').stdout  # fmt: skip
    assert local.strip() == "b'/late|'"
    counts(standing, requests=3.0, harmed=2.0)
    standing.undo()


def test_a_reset_and_a_share(host: Target, v4: str) -> None:
    standing = Standing(host, http_fault(abort=True, share="50%"))
    harmed = 0
    for _ in range(60):
        with connection(v4) as made:
            try:
                assert say(made, "/a") == (200, b"/a|")
            except ConnectionResetError:
                harmed += 1
    assert 8 <= harmed <= 52, "outside by chance once in 10^8 runs"
    counts(standing, requests=60.0, harmed=float(harmed))
    standing.undo()


def test_who_was_not_redirected_is_not_served_and_what_is_no_http_or_pipelined_is_passed_on(
    host: Target, v4: str
) -> None:
    standing = Standing(host, http_fault(status=500, path="/bad"))
    with pytest.raises(ConnectionResetError):
        connects_and_asks(v4, proxy_port(standing))
    with socket.create_connection((v4, PORT), timeout=20) as made:
        made.sendall(b"GET /slow HTTP/1.1\r\n\r\nGET /bad HTTP/1.1\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: made.recv(9999), b""))
        assert (said.count(b"200 OK"), said.count(b"500 ")) == (2, 0)
    with socket.create_connection((v4, PORT), timeout=20) as made:
        made.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert b"400" in b"".join(iter(lambda: made.recv(9999), b""))
    standing.eventually(standing.dose, lambda dose: "1 connections were no HTTP/1" in dose.why_not)
    standing.undo()


def proxy_port(standing: Standing) -> int:
    assert isinstance(standing.fault, Http)
    return standing.fault._proxy_port


def connects_and_asks(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=20) as made:
        made.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while made.recv(9999):
            pass


def test_a_proxy_that_is_killed_harms_nobody_and_is_no_dose(host: Target, v4: str) -> None:
    standing = Standing(host, http_fault(status=500))
    host.run(f"kill -9 $(pgrep -f '^python3 .*[.]/program {proxy_port(standing)}')")
    standing.eventually(lambda: "gameday_" not in host.run("nft list tables").stdout)
    with connection(v4) as made:
        assert say(made, "/a") == (200, b"/a|")
    assert "it was not at work at the end: 137" in standing.dose().why_not
    standing.undo()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"port": 22}, "the controller itself comes by port 22"),
        ({"port": 8001}, "nobody listens on port 8001"),
        ({"port": 8443}, "port 8443 speaks TLS"),
    ],
)
def test_what_can_not_be_met_is_objected_to(host: Target, given: dict[str, Any], says: str) -> None:
    fault = http_fault(status=500, **given)
    assert (fault.objection(read(host, fault.reading())) or "").startswith(says)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "it does nothing"),
        ({"status": 503, "abort": True}, "leaves no answer"),
        ({"status": 200}, "greater than or equal to 400"),
        ({"latency": "1s", "jitter": "2s"}, "is longer than `latency`"),
        ({"abort": True, "path": "("}, "is not a regular expression"),
        ({"abort": True, "methods": ["get"]}, "should be 'GET'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        http_fault(**wrong)
