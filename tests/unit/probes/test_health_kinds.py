"""What one check of each kind makes of a real peer."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from probes.errors import ErrorKind
from probes.health import Outcome, Probe
from probes.health.command import Command
from probes.health.http import Http, _authorities
from probes.health.icmp import Icmp
from probes.health.promql import Promql
from probes.health.tcp import Tcp
from tests.unit.probes import oracle_server
from tests.unit.probes.oracle_server import Oracle


def ask(probe: Probe, timeout: float = 5.0) -> Outcome:
    return asyncio.run(asyncio.wait_for(probe.check(), timeout))


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with oracle_server.running() as server:
        yield server


@pytest.fixture
def nobody() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("path", "error", "status"),
    [
        ("/ok", ErrorKind.OK, 200),
        ("/chunked", ErrorKind.OK, 200),
        ("/until-eof", ErrorKind.OK, 200),
        ("/500", ErrorKind.UNHEALTHY, 500),
        ("/reset", ErrorKind.RESET, 0),
        ("/close", ErrorKind.CLOSED_EARLY, 0),
        ("/too-short", ErrorKind.CLOSED_EARLY, 0),
    ],
)
def test_http_answers(oracle: Oracle, path: str, error: ErrorKind, status: int) -> None:
    outcome = ask(Http(url=oracle.url(path)))
    assert (outcome.error, outcome.status) == (error, status)


def test_what_is_not_http_is_malformed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        greeting = threading.Thread(target=greet, args=(server,))
        greeting.start()
        assert ask(Http(url=f"http://127.0.0.1:{server.getsockname()[1]}/")).error is ErrorKind.MALFORMED
        greeting.join()


def greet(server: socket.socket) -> None:
    with server.accept()[0] as client:
        client.recv(4096)
        client.sendall(b"220 mail.example ESMTP\r\n\r\n")


def test_http_says_when_the_answer_began_and_how_long_it_was(oracle: Oracle) -> None:
    before = time.monotonic_ns()
    outcome = ask(Http(url=oracle.url("/slow")))
    assert before + 50_000_000 <= outcome.first <= time.monotonic_ns()
    assert outcome.received == 2


def test_http_holds_the_one_status_that_was_asked_for(oracle: Oracle) -> None:
    assert ask(Http(url=oracle.url("/500"), status=500)).error is ErrorKind.OK
    assert ask(Http(url=oracle.url("/ok"), status=204)).error is ErrorKind.UNHEALTHY


def test_each_http_check_is_a_connection_of_its_own(oracle: Oracle) -> None:
    before = oracle.connections
    probe = Http(url=oracle.url("/ok"))
    for _ in range(3):
        assert ask(probe).error is ErrorKind.OK
    assert oracle.connections == before + 3


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oracle")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    signed = builder.add_extension(address, critical=False).sign(key, SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = tmp_path / "oracle.pem"
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return path


def test_http_over_tls_is_verified(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with oracle_server.running(tls=tls) as server:
        probe = Http(url=server.url("/ok", scheme="https"))
        _authorities.cache_clear()
        assert ask(probe).error is ErrorKind.TLS_FAILED
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        _authorities.cache_clear()
        assert ask(probe).error is ErrorKind.OK
    _authorities.cache_clear()


def test_where_nobody_listens_the_connection_is_refused(nobody: int) -> None:
    for probe in (Http(url=f"http://127.0.0.1:{nobody}/"), Tcp(address=f"127.0.0.1:{nobody}")):
        assert ask(probe).error is ErrorKind.CONNECT_REFUSED


def test_a_name_that_does_not_resolve() -> None:
    for probe in (Http(url="http://no-such-host.invalid/"), Tcp(address="no-such-host.invalid:1")):
        assert ask(probe, 10).error is ErrorKind.DNS_FAILED


@pytest.mark.parametrize("host", ["xn--", "xn--a.invalid", "[v1.x]", "-.-", "x..y"])
def test_a_host_that_no_name_can_be(host: str) -> None:
    assert ask(Http(url=f"http://{host}/")).error is ErrorKind.DNS_FAILED
    assert ask(Promql(url=f"http://{host}/", query="up", ok="> 0")).error is ErrorKind.DNS_FAILED


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp_connects_to_a_listener(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.create_server((host, 0), family=family)) as server:
        port = server.getsockname()[1]
        assert ask(Tcp(address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")).error is ErrorKind.OK


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:8080", "::1", "[::1]:8080", "localhost"])
def test_icmp_is_echoed_by_loopback(address: str) -> None:
    probe = Icmp(address=address)
    if why := probe.objection():
        pytest.skip(why)
    outcome = ask(probe)
    assert (outcome.error, outcome.received > 0) == (ErrorKind.OK, True)


def test_icmp_checks_at_once_do_not_take_each_others_replies() -> None:
    probe = Icmp(address="127.0.0.1")
    if why := probe.objection():
        pytest.skip(why)

    async def many() -> list[Outcome]:
        return await asyncio.gather(*(probe.check() for _ in range(20)))

    assert {outcome.error for outcome in asyncio.run(many())} == {ErrorKind.OK}


def test_a_command_is_well_by_its_exit_status() -> None:
    assert ask(Command(run=("true",))) == Outcome(ErrorKind.OK)
    assert ask(Command(run=("sh", "-c", "exit 7"))) == Outcome(ErrorKind.UNHEALTHY, 7)
    assert ask(Command(run=("sh", "-c", "kill -9 $$"))) == Outcome(ErrorKind.UNHEALTHY, -9)


def test_no_shell_reads_a_command() -> None:
    assert ask(Command(run=("test", "$HOME", "=", "$HOME"))).error is ErrorKind.OK
    assert ask(Command(run=("test", "-n", "; exit 1"))).error is ErrorKind.OK


def test_a_command_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    probe = Command(run=("sh", "-c", f"sleep 60 & echo $$ $! >{pids}; wait"))
    with pytest.raises(TimeoutError):
        ask(probe, 0.5)
    for pid in pids.read_text().split():
        assert not runs(int(pid))


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_program_that_is_not_there_is_objected_to() -> None:
    assert "no program 'no-such-program'" in (Command(run=("no-such-program",)).objection() or "")
    assert Command(run=("true",)).objection() is None
    assert ask(Command(run=("no-such-program",))).error is ErrorKind.LOCAL_RESOURCES


@pytest.mark.parametrize("address", ["", "a b:1", "host", "host:0", "host:x", "host:70000", "u@host:1", "host:1/x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        Tcp(address=address)
