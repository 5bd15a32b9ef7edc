"""dns_answer on a host in namespaces, with a name server of the test's own beside it: who is told what, and when."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.contracts import Target
from chaos.faults._payload import Payload
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
# asks SERVER for NAME and TYPE over KIND, from one socket, and prints the code, the addresses and how long it took
ASK = """
import socket, struct, sys, time
server, name, sort, kind = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
q = b"ab" + struct.pack("!HHHHH", 0x100, 1, 0, 0, 0) + b"".join(
    bytes([len(x)]) + x.encode() for x in name.split(".")) + struct.pack("!BHH", 0, sort, 1)
s = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, getattr(socket, "SOCK_" + kind))
s.settimeout(10); s.connect((server, 53)); began = time.monotonic()
s.send(q if kind == "DGRAM" else struct.pack("!H", len(q)) + q)
m = s.recv(999)
m = m if kind == "DGRAM" else m[2:]
took, at, found = time.monotonic() - began, len(q), []
assert m[:2] == b"ab" and m[12 : len(q)] == q[12:]
for _ in range(struct.unpack("!H", m[6:8])[0]):
    size = struct.unpack("!H", m[at + 10 : at + 12])[0]
    found.append(m[at + 12 : at + 12 + size].hex()); at += 12 + size
print(m[3] & 15, ",".join(found) or "-", round(took, 3))
"""


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


def ask(host: Target, name: str, sort: int = 1, kind: str = "DGRAM", server: str = CONTROLLER) -> tuple[str, str]:
    code, found, _ = host.run(f"{sys.executable} -c '{ASK}' {server} {name} {sort} {kind}").stdout.split()
    return code, found


def hexed(address: str) -> str:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address).hex()


WAYS = [("DGRAM", CONTROLLER), ("STREAM", CONTROLLER), ("DGRAM", CONTROLLER6), ("STREAM", CONTROLLER6)]


def test_a_wrong_address_for_some_names_and_the_truth_for_others(host: Target) -> None:
    fault = DnsAnswer.model_validate({"action": "address", "names": ["Store.example"], "addresses": ["192.0.2.66"]})
    standing = Standing(host, fault)
    standing.apply()
    assert standing.is_applied()
    assert standing.dose().why_not == "nobody asked for these names, so nothing was answered"
    for kind, server in WAYS:
        assert ask(host, "store.example", 1, kind, server) == ("0", hexed("192.0.2.66"))
        assert ask(host, "a.STORE.example", 28, kind, server) == ("0", "-")
        assert ask(host, "xstore.example", 1, kind, server) == ("0", hexed(TRUTH))
        assert ask(host, "example", 28, kind, server) == ("0", hexed(TRUTH6))
    dose = standing.confirmed()
    assert dose.achieved == {"questions": 16.0, "met": 8.0}
    standing.undo()
    for kind, server in WAYS:
        assert ask(host, "store.example", 1, kind, server) == ("0", hexed(TRUTH))


@pytest.mark.parametrize(("action", "code"), [("refused", "5"), ("servfail", "2"), ("nxdomain", "3")])
def test_an_error_for_every_name(host: Target, action: str, code: str) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": action}))
    assert ask(host, "anything.example") == (code, "-")
    assert ask(host, "anything.example", 28, "STREAM", CONTROLLER6) == (code, "-")
    standing.undo()
    assert ask(host, "anything.example") == ("0", hexed(TRUTH))


def test_late_for_some_names(host: Target) -> None:
    fault = DnsAnswer.model_validate({"action": "delay", "delay": "300ms", "names": ["slow.example"]})
    standing = Standing(host, fault)
    for kind in ("DGRAM", "STREAM"):
        took = float(host.run(f"{sys.executable} -c '{ASK}' {CONTROLLER} slow.example 1 {kind}").stdout.split()[2])
        assert 0.3 <= took < 5
    assert ask(host, "quick.example") == ("0", hexed(TRUTH))
    assert standing.confirmed().achieved == {"questions": 3.0, "met": 2.0}
    standing.undo()


def test_one_socket_is_told_otherwise_and_the_truth_again(hosts: SshHosts, host: Target) -> None:
    """A resolver may keep its socket (nginx does): nothing of the fault may stick to its flow."""
    asks, _, _ = ASK.partition("began =")
    loop = f"{asks}\nfor line in sys.stdin:\n    s.send(q); print(s.recv(999)[3] & 15, flush=True)\n"
    enter = ["nsenter", "--target", str(hosts.pid_of(hosts.names[0])), "--net", sys.executable, "-c", loop]
    argv = [*enter, CONTROLLER, "a.example", "1", "DGRAM"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as asker:
        assert asker.stdin is not None
        assert asker.stdout is not None
        asker.stdin.write("\n")
        assert asker.stdout.readline() == "0\n"
        standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
        asker.stdin.write("\n")
        assert asker.stdout.readline() == "5\n"
        standing.undo()
        asker.stdin.write("\n")
        assert asker.stdout.readline() == "0\n"
        asker.kill()


def test_without_its_fuse_the_table_goes_too(host: Target) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
    host.run(f"rm -r {standing.fuse.folder}")
    standing.eventually(standing.is_reverted)
    assert ask(host, "anything.example") == ("0", hexed(TRUTH))


def test_a_payload_that_is_killed_is_no_dose(host: Target) -> None:
    standing = Standing(host, DnsAnswer.model_validate({"action": "refused"}))
    payload: Payload = standing.fault.payload  # type: ignore[attr-defined]
    host.run(f"kill -9 $(pgrep -f '[.]/program refused' | head -n 1); ls {payload.folder}")
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
