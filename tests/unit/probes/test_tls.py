"""https against servers that really ask for certificates, over HTTP/1.1 and over HTTP/2 (by nginx)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.endpoint import tls_context
from probes.errors import PlanError
from probes.plan import RequestClass
from tests.unit.probes import oracle_server, real_nginx
from tests.unit.probes.oracle_server import Oracle
from tests.unit.probes.real_nginx import Nginx
from tests.unit.probes.running_load import run


class Papers:
    """Paths of PEM files: the authority, the server's certificate, a client's certificate apart and with its key."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("load@gameday.test")
        self.ca, self.server = folder / "ca.pem", folder / "server.pem"
        self.certificate, self.key, self.both = folder / "client.pem", folder / "client.key", folder / "both.pem"
        authority.cert_pem.write_to_path(self.ca)
        server.private_key_and_cert_chain_pem.write_to_path(self.server)
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)
        client.private_key_and_cert_chain_pem.write_to_path(self.both)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=[ssl.CERT_NONE, ssl.CERT_REQUIRED])
def server(papers: Papers, request: pytest.FixtureRequest) -> Iterator[Oracle]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.server)
    context.load_verify_locations(papers.ca)
    context.verify_mode = request.param
    with oracle_server.running(tls=context) as running:
        yield running


no_certificate = pytest.mark.parametrize("server", [ssl.CERT_NONE], indirect=True)
wants_certificate = pytest.mark.parametrize("server", [ssl.CERT_REQUIRED], indirect=True)


@no_certificate
def test_the_system_s_authorities(
    server: Oracle, papers: Papers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(papers.ca))
    outcome = run(tmp_path, server.url("/ok", scheme="https"), connections=1)
    assert outcome.errors == {"ok": 10}
    assert server.connections == 1


@no_certificate
def test_an_authority_of_one_s_own(server: Oracle, papers: Papers, tmp_path: Path) -> None:
    assert run(tmp_path, server.url("/ok", scheme="https"), ca=str(papers.ca)).errors == {"ok": 10}


@no_certificate
def test_a_certificate_that_is_not_trusted(server: Oracle, tmp_path: Path) -> None:
    assert run(tmp_path, server.url("/ok", scheme="https")).errors == {"tls_failed": 10}


def test_a_certificate_for_another_name(papers: Papers, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.server)
    with oracle_server.running("127.0.0.2", context) as other:
        outcome = run(tmp_path, other.url("/ok", "127.0.0.2", "https"), ca=str(papers.ca))
    assert outcome.errors == {"tls_failed": 10}
    assert not other.requests


@wants_certificate
@pytest.mark.parametrize("apart", [True, False])
def test_a_client_s_certificate(server: Oracle, papers: Papers, tmp_path: Path, apart: bool) -> None:
    own = (
        {"certificate": str(papers.certificate), "key": str(papers.key)} if apart else {"certificate": str(papers.both)}
    )
    assert run(tmp_path, server.url("/ok", scheme="https"), ca=str(papers.ca), **own).errors == {"ok": 10}


@wants_certificate
def test_no_certificate_where_one_is_asked_for(server: Oracle, papers: Papers, tmp_path: Path) -> None:
    errors = run(tmp_path, server.url("/ok", scheme="https"), ca=str(papers.ca)).errors
    assert "ok" not in errors  # TLS 1.3 lets the client find out only after its first request


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"ca": "none.pem"}, "ca"),
        ({"certificate": "none.pem"}, "certificate"),
        ({"certificate": "ca.pem"}, "certificate"),
    ],
)
def test_files_that_can_not_be_used_are_named(papers: Papers, files: dict[str, str], what: str) -> None:
    given = {name: str(papers.ca.parent / value) for name, value in files.items()}
    with pytest.raises(PlanError, match=f"^{what}: "):
        tls_context(**given)


@pytest.fixture(scope="module")
def nginx(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with real_nginx.running(tmp_path_factory.mktemp("nginx"), papers.server, papers.ca) as server:
        yield server


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_http2(nginx: Nginx, papers: Papers, tmp_path: Path, scheme: str) -> None:
    own: dict[str, Any] = {"ca": str(papers.ca), "certificate": str(papers.both)} if scheme == "https" else {}
    outcome = run(tmp_path, nginx.url(scheme, "/"), http2=True, **own)
    assert outcome.errors == {"ok": 10}
    assert set(outcome.rows["status"].tolist()) == {200}
    assert (outcome.rows["sent"] < outcome.rows["first"]).all()
    assert nginx.log(10) == ["HTTP/2.0 GET / - -"] * 10


def test_http2_sends_the_body_and_the_headers(nginx: Nginx, tmp_path: Path) -> None:
    classes = (RequestClass(name="numbered", body="number {seq}"),)
    outcome = run(
        tmp_path, nginx.url("http", "/body"), http2=True, method="POST", classes=classes, headers={"X-Given": "yes"}
    )
    assert outcome.errors == {"ok": 10}
    assert nginx.log(10) == ["HTTP/2.0 POST /body 8 yes"] * 10


def test_http2_to_nobody_is_refused(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = run(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/", http2=True)
    assert outcome.errors == {"connect_refused": 10}


def test_http2_without_the_certificate_asked_for_is_an_answer_of_400(
    nginx: Nginx, papers: Papers, tmp_path: Path
) -> None:
    outcome = run(tmp_path, nginx.url("https", "/"), http2=True, ca=str(papers.ca))
    assert set(outcome.rows["status"].tolist()) == {400}
