"""slow_clients and connection_storm on a host in namespaces, against a real nginx there; seen by its ss and its log."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from chaos.contracts import HostView, Target
from chaos.errors import Misfit
from chaos.faults._payload import Seen
from chaos.faults.connection_storm import ConnectionStorm
from chaos.faults.slow_clients import SlowClients
from tests.hosts import SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

PORT = 8077
URL = f"http://127.0.0.1:{PORT}/big"
CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 500; }}
http {{
    log_format given "$status $request_time $body_bytes_sent $request";
    access_log {folder}/access.log given;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    client_header_timeout 2s;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as made, made.as_controller():
        yield made


@pytest.fixture(scope="module")
def nginx(hosts: SshHosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An nginx on the host, and the folder of its log."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "big").write_bytes(bytes(8 << 20))
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=PORT))
    enter = ["nsenter", "--target", str(hosts.pid_of(hosts.names[0])), "--net"]
    argv = [*enter, "/usr/sbin/nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        while not (folder / "pid").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield folder
        process.terminate()


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()


def established(host: Target) -> int:
    """Return how many connections nginx has, as ss of the host tells."""
    return int(host.run(f"ss -Htn state established sport = :{PORT} | wc -l").stdout)


def test_readers_are_slow_and_nginx_waits_for_each(host: Target, nginx: Path) -> None:
    standing = Standing(host, SlowClients(url=URL, connections=80, rate="2kbps"))
    standing.apply()
    assert standing.is_applied()
    standing.eventually(lambda: standing.dose().achieved["connections"] == established(host) == 80)
    waits = host.run(f"ss -Htn state established sport = :{PORT}").stdout
    assert all(int(line.split()[1]) > 50_000 for line in waits.splitlines()), "nginx's own queues are full"
    paced = standing.eventually(standing.dose, lambda dose: dose.achieved["bytes_per_second"] > 1500)
    assert paced.achieved["bytes_per_second"] < 4000
    assert not (nginx / "access.log").read_text(), "not one answer is complete"
    standing.undo()
    standing.eventually(lambda: established(host) == 0)


def test_senders_never_end_their_head_and_come_back_when_they_are_shut_out(host: Target, nginx: Path) -> None:
    (nginx / "access.log").write_text("")
    standing = Standing(host, SlowClients(url=URL, connections=20, rate="200bps", slow="send"))
    assert standing.confirmed().achieved["connections"] == 20
    standing.eventually(lambda: 120 < standing.dose().achieved["bytes_per_second"] < 280)
    standing.eventually(lambda: (nginx / "access.log").read_text().count("408 ") >= 15)  # client_header_timeout
    standing.eventually(lambda: established(host) >= 15)
    standing.undo()


@pytest.mark.usefixtures("nginx")
def test_a_storm_opens_at_its_rate_and_holds_each(host: Target) -> None:
    fault = ConnectionStorm(url=URL, rate="200/s", hold="1s")
    standing = Standing(host, fault)
    assert standing.is_applied()
    dose = standing.confirmed()
    assert dose.achieved["connections_per_second"] == pytest.approx(200, rel=0.1)
    standing.eventually(lambda: established(host) in range(150, 250))
    assert dose.achieved["failed_ratio"] == 0
    standing.undo()
    waiting = "ss -Htn state time-wait | wc -l"
    assert host.run(waiting).stdout.strip() == "0", "no port of the host is used up"


def test_where_nobody_listens_it_is_not_applied(host: Target) -> None:
    standing = Standing(host, ConnectionStorm(url="http://127.0.0.1:9/", rate="50/s"))
    time.sleep(1.2)
    assert not standing.is_applied()
    dose = standing.dose()
    assert (dose.confirmed, dose.achieved["connections"]) == (False, 0.0)
    standing.undo()


def test_names_of_the_inventory_stand_for_its_addresses() -> None:
    peers: dict[str, dict[str, tuple[str, ...]]] = {
        "gateway": {"gateway": ("10.0.0.10",)},
        "workers": {"a": ("2001:db8::1",)},
        "far": {"far": ()},
    }
    view = HostView("worker-1", peers=peers)
    bound = SlowClients(url="http://{gateway}:80/a", connections=1, rate="1kbps").bind(view)
    assert bound.url == "http://10.0.0.10:80/a"
    assert bound.payload.arguments[:4] == ("10.0.0.10", "80", "10.0.0.10:80", "/a")
    storm = ConnectionStorm(url="http://{workers}:8000/", rate="1/s")
    assert storm.bind(view).payload.arguments[:2] == ("2001:db8::1", "8000")
    for name, says in (
        ("nobody", "is no host or group of the inventory"),
        ("far", "no numeric address of far off loop"),
    ):
        with pytest.raises(Misfit, match=says):
            ConnectionStorm(url=f"http://{{{name}}}/", rate="1/s").bind(view)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://{gateway}/", "only http"), ("http://{gateway}:22/", "that of sshd"), ("http://{gate way}/", "brace"),
        ("ftp://x/", "not an address"), ("http://u:p@x/", "credentials"), ("http://x/\r\nHost: y", "percent-encode"),
    ],
)  # fmt: skip
def test_a_url_that_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SlowClients(url=url, connections=1, rate="1kbps")


def test_too_many_at_once_are_refused() -> None:
    with pytest.raises(ValidationError, match="22001 connections would be open at once"):
        ConnectionStorm(url=URL, rate="10000/s", hold="2s")


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ({"files": "1024"}, "1024 files open"),
        ({"ports": "500"}, "500 ephemeral ports"),
        ({"available": "60000"}, "15 MiB of memory"),
        ({"files": "unlimited"}, None),
    ],
)
def test_what_is_objected_to(also: dict[str, str], says: str | None) -> None:
    fault = SlowClients(url=URL, connections=1000, rate="1kbps")
    seen = fault.typical()
    objection = fault.objection(Seen(also={**seen.also, **also}))
    assert (objection is None) if says is None else (says in (objection or ""))
