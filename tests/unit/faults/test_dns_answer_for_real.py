"""dns_answer on a host in namespaces, with a name server of the test's own beside it: who is told what, and when."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from shlex import quote
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults.dns_answer import DnsAnswer, _servers
from tests.hosts import CONTROLLER, CONTROLLER6, SshHosts, ssh_hosts
from tests.unit.faults.payload_hosts import Standing

TRUTH, TRUTH6 = "198.51.100.1", "2001:db8::1"
# a name server that tells everybody the same, over UDP and TCP
SERVER = f"""
import socket, socketserver, struct, threading
def said(m):
    end = m.index(b"\\0", 12) + 5
    sort = struct.unpack("!H", m[end - 4 : end - 2])[0]
    family, text = {{1: (socket.AF_INET, "{TRUTH}"), 28: (socket.AF_INET6, "{TRUTH6}")}}[sort]
    a = socket.inet_pton(family, text)
    return m[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + m[12:end] + struct.pack(
        "!HHHIH", 0xC00C, sort, 1, 60, len(a)) + a
class U(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(said(self.request[0]), self.client_address)
class T(socketserver.BaseRequestHandler):
    def handle(self):
        m = said(self.request.recv(999)[2:]); self.request.sendall(struct.pack("!H", len(m)) + m)
for host in ("{CONTROLLER}", "{CONTROLLER6}"):
    for base, handler in ((socketserver.ThreadingUDPServer, U), (socketserver.ThreadingTCPServer, T)):
        made = type("S", (base,), {{"address_family": socket.AF_INET6 if ":" in host else socket.AF_INET}})
        threading.Thread(target=made((host, 53), handler).serve_forever).start()
print("ready", flush=True)
"""
# asks, for each "SERVER NAME TYPE KIND", by a socket of its own; prints the code, the addresses and how long it took
ASK = """
import socket, struct, sys, time
def made(server, name, sort, kind):
    s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, getattr(socket, "SOCK_" + kind))
    s.settimeout(20); s.connect((server, 53))
    return s, b"ab" + struct.pack("!HHHHH", 0x100, 1, 0, 0, 0) + b"".join(
        bytes([len(x)]) + x.encode() for x in name.split(".")) + struct.pack("!BHH", 0, int(sort), 1)
def ask(s, q):
    stream = s.type == socket.SOCK_STREAM
    began = time.monotonic()
    s.send(struct.pack("!H", len(q)) + q if stream else q)
    m = s.recv(999)[2 if stream else 0 :]
    took, at, found = time.monotonic() - began, len(q), []
    assert m[:2] == b"ab" and m[12 : len(q)] == q[12:]
    for _ in range(struct.unpack("!H", m[6:8])[0]):
        size = struct.unpack("!H", m[at + 10 : at + 12])[0]
        found.append(m[at + 12 : at + 12 + size].hex()); at += 12 + size
    print(m[3] & 15, ",".join(found) or "-", round(took, 3), flush=True)
"""
EACH = "for text in sys.argv[1:]: ask(*made(*text.split()))\n"
SAME = "asker = made(*sys.argv[1].split())\nfor line in sys.stdin: ask(*asker)\n"


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as made, made.as_controller():
        (name,) = made.names
        made.inside(name, f"echo 'nameserver {CONTROLLER}\nnameserver {CONTROLLER6}' >/run/resolv.conf")
        made.inside(name, "mount --bind /run/resolv.conf /etc/resolv.conf")
        argv = [*made.enter_command, sys.executable, "-c", SERVER]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            yield made
            server.kill()


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    target = hosts.target(hosts.names[0])
    yield target
    target.close()


def ask(host: Target, *questions: str) -> list[tuple[str, str, float]]:
    """Ask the questions, in one process, and return for each the code, the addresses in hex, and the s it took."""
    words = " ".join(map(quote, questions))
    said = [line.split() for line in host.run(f"{sys.executable} -c '{ASK}{EACH}' {words}").stdout.splitlines()]
    return [(code, found, float(took)) for code, found, took in said]


def told(host: Target, *questions: str) -> list[tuple[str, str]]:
    return [(code, found) for code, found, _ in ask(host, *questions)]


def hexed(address: str) -> str:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address).hex()


WAYS = [(server, kind) for server in (CONTROLLER, CONTROLLER6) for kind in ("DGRAM", "STREAM")]
ONE = f"{CONTROLLER} anything.example 1 DGRAM"
TRUE = [("0", hexed(TRUTH))]


def test_a_wrong_address_for_some_names_and_the_truth_for_others(host: Target) -> None:
    fault = DnsAnswer.model_validate({"action": "address", "names": ["Store.example"], "addresses": ["192.0.2.66"]})
    standing = Standing(host, fault)
    standing.apply()
    assert standing.is_applied()
    assert standing.dose().why_not == "nobody asked for these names, so nothing was answered"
    asked = ["store.example 1", "a.STORE.example 28", "xstore.example 1", "example 28"]
    questions = [f"{server} {name} {kind}" for server, kind in WAYS for name in asked]
    wrong = [("0", hexed("192.0.2.66")), ("0", "-"), ("0", hexed(TRUTH)), ("0", hexed(TRUTH6))]
    assert told(host, *questions) == wrong * 4
    standing.eventually(standing.dose, lambda dose: dose.achieved == {"questions": 16.0, "met": 8.0})
    standing.undo()
    assert told(host, *(f"{server} store.example 1 {kind}" for server, kind in WAYS)) == TRUE * 4


@pytest.mark.parametrize(("action", "code"), [("servfail", "2"), ("nxdomain", "3")])
def test_an_error_for_every_name(host: Target, action: str, code: str) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": action}))
    assert told(host, ONE, f"{CONTROLLER6} anything.example 28 STREAM") == [(code, "-")] * 2
    standing.undo()


def test_late_for_some_names(host: Target) -> None:
    fault = DnsAnswer.model_validate({"action": "delay", "delay": "300ms", "names": ["slow.example"]})
    standing = Standing(host, fault)
    slow = [f"{CONTROLLER} slow.example 1 {kind}" for kind in ("DGRAM", "STREAM")]
    for code, found, took in ask(host, *slow):
        assert [(code, found)] == TRUE
        assert took >= 0.3
    assert told(host, ONE) == TRUE
    standing.eventually(standing.dose, lambda dose: dose.achieved == {"questions": 3.0, "met": 2.0})
    standing.undo()


def test_one_socket_is_told_otherwise_and_the_truth_again(hosts: SshHosts, host: Target) -> None:
    """A resolver may keep its socket (nginx does): nothing of the fault may stick to its flow."""
    enter = ["nsenter", "--target", str(hosts.pid_of(hosts.names[0])), "--net", sys.executable, "-c", f"{ASK}{SAME}"]
    with subprocess.Popen([*enter, ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asker:

        def again() -> str:
            assert asker.stdin is not None
            assert asker.stdout is not None
            asker.stdin.write("\n")
            asker.stdin.flush()
            return asker.stdout.readline().split()[0]

        assert again() == "0"
        standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
        assert again() == "5"
        standing.undo()
        assert again() == "0"


def test_without_its_fuse_the_table_goes_too(host: Target) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
    host.run(f"rm -r {standing.fuse.folder}")
    standing.eventually(lambda: "gameday_" not in host.run("nft list tables").stdout)
    standing.eventually(standing.is_reverted)
    assert told(host, ONE) == TRUE


def test_a_payload_that_is_killed_is_no_dose(host: Target) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
    host.run("kill -9 $(pgrep -f '[.]/program refused')")
    standing.eventually(standing.dose, lambda dose: "not at work" in dose.why_not)
    standing.undo()


def test_systemd_resolved_is_stood_in_for_with_its_own_servers() -> None:
    stub, own = "nameserver 127.0.0.53\noptions edns0\n", "# x\nnameserver 192.0.2.1\nnameserver 2001:db8::5\n"
    assert _servers(stub, own) == (
        ("127.0.0.53", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::5", "2001:db8::5")
    )  # fmt: skip
    assert _servers(stub, "") == (("127.0.0.53", "127.0.0.53"),)
    assert _servers(own + "nameserver fe80::1%eth0\nnameserver 192.0.2.1\n", stub) == (
        ("192.0.2.1", "192.0.2.1"), ("2001:db8::5", "2001:db8::5")
    )  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"action": "delay"},
        {"action": "refused", "delay": "1s"},
        {"action": "address"},
        {"action": "refused", "addresses": ["192.0.2.1"]},
        {"action": "address", "addresses": ["host"]},
        {"action": "refused", "names": ["a..b"]},
        {"action": "refused", "names": ["a,b"]},
        {"action": "refused", "names": [""]},
    ],
)
def test_what_is_no_such_fault(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DnsAnswer.model_validate(wrong)
