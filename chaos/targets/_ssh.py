"""An SSH connection: how it is opened, through which jump hosts, and how a command is run over it within a deadline.

From ~/.ssh/config are taken HostName, Port, User, IdentityFile and ProxyJump; keys come from IdentityFile, the agent
and the usual files. The host key is always checked, a jump host's too; nothing here can turn that off.

Every wait is against one `Deadline`: dialling, the key exchange, authentication, and all of a command. Paramiko bounds
each step alone, so while a connection opens a watchdog closes its socket when the time is over.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import paramiko

from chaos.contracts import Completed
from chaos.errors import Unreachable

# what paramiko's own thread meets is raised here too, as Unreachable; without a handler it would print a traceback
logging.getLogger("paramiko").addHandler(logging.NullHandler())
FAILURES = (paramiko.SSHException, EOFError, OSError)
"""What a connection may raise."""


class NotSent(paramiko.SSHException):
    """A command was not sent, nor any part of it: the connection was gone before."""


_KEEPALIVE = 5  # s: a dead peer is noticed while nothing is asked of it
# At once on one connection. sshd refuses more than MaxSessions, by default 10, and a closed session counts until its
# loop comes round, by when the next may have been asked for: twice as many at worst.
_SESSIONS = 5
_POLL = 0.1  # s: how long one stream may be waited for while the other may fill
_MAX_JUMPS = 8
_PARSING = threading.Lock()  # while one connection parses known_hosts, the others wait for what it finds

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True)
class SshAddress:
    """How to get to a host. Empty fields are taken from ~/.ssh/config, then from ssh's own defaults."""

    address: str
    port: int | None = None
    user: str | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    proxy_jump: str | None = None
    become: str = "none"
    sudo_password: str | None = field(default=None, repr=False)
    connect_timeout: float = 10.0

    def resolved(self) -> SshAddress:
        """Return the address with its blanks filled from ~/.ssh/config."""
        config = Path("~/.ssh/config").expanduser()
        found = paramiko.SSHConfig.from_path(str(config)).lookup(self.address) if config.is_file() else {}
        jump = self.proxy_jump or found.get("proxyjump") or "none"
        return replace(
            self,
            address=found.get("hostname", self.address),
            port=self.port or int(found.get("port", 22)),
            user=self.user or found.get("user"),
            identity_file=self.identity_file or next(iter(found.get("identityfile", [])), None),
            proxy_jump=None if jump.lower() == "none" else jump,
        )


class Deadline:
    """A moment by which something must be over; `left` (s) raises TimeoutError once it has passed."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than 0. Raises TimeoutError."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


class Connection:
    """One authenticated connection and the jump hosts it leads through. Safe to use from several threads."""

    def __init__(self, clients: list[paramiko.SSHClient]) -> None:
        self._clients = clients
        self._sessions = threading.BoundedSemaphore(_SESSIONS)

    @property
    def is_active(self) -> bool:
        """Whether the connection is there, as far as is known."""
        transport = self._clients[-1].get_transport()
        return transport is not None and transport.is_active()

    def execute(self, command: str, deadline: Deadline, stdin: bytes = b"") -> Completed:
        """Run a command. Raises TimeoutError, NotSent and the rest of FAILURES."""
        if not self._sessions.acquire(timeout=deadline.left()):
            raise TimeoutError("the time is over")
        try:
            with self._channel(deadline) as channel:
                return _execute(channel, command, deadline, stdin)
        finally:
            self._sessions.release()

    def _channel(self, deadline: Deadline) -> paramiko.Channel:
        transport = self._clients[-1].get_transport()
        if transport is None:
            raise NotSent("the connection is closed")
        try:
            return transport.open_session(timeout=deadline.left())
        except (paramiko.SSHException, EOFError, OSError) as error:
            deadline.left()
            raise NotSent(str(error) or type(error).__name__) from error

    def close(self) -> None:
        """Close the connection, then those to its jump hosts."""
        for client in reversed(self._clients):
            client.close()


def connect(name: str, to: SshAddress, *, by: SocketAddress | None = None) -> Connection:
    """Open a connection within `to.connect_timeout`; `by` is the one socket address to take. Raises Unreachable."""
    deadline, clients = Deadline(to.connect_timeout), list[paramiko.SSHClient]()
    hops = [*_jumps(to), to]
    try:
        for hop in hops:
            called = name if hop is to else f"{name} (jump host {hop.address})"
            clients.append(_client(called, hop, deadline, clients[-1] if clients else None, by))
    except BaseException:
        Connection(clients).close()
        raise
    return Connection(clients)


def socket_addresses(to: SshAddress) -> list[SocketAddress]:
    """Return every address that the host's name has. Raises OSError."""
    found = socket.getaddrinfo(to.address, to.port or 22, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(sockaddr for *_, sockaddr in found))  # type: ignore[misc]


def parse_jump(text: str) -> SshAddress:
    """Return one hop of a ProxyJump: [user@]host[:port] or ssh://…, an IPv6 address with a port in brackets."""
    user, _, rest = text.strip().removeprefix("ssh://").rpartition("@")
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host or not (port.isdigit() or not port):
        raise Unreachable(f"proxy_jump {text!r} is not understood; write [user@]host[:port], several with commas")
    return SshAddress(host, int(port) if port else None, user or None)


def _jumps(to: SshAddress) -> list[SshAddress]:
    """Return the hops before a host, nearest first; a first hop may have hops of its own in ~/.ssh/config."""
    if not to.proxy_jump:
        return []
    asked = [parse_jump(hop) for hop in to.proxy_jump.split(",")]
    hops = [replace(hop, known_hosts=to.known_hosts, connect_timeout=to.connect_timeout).resolved() for hop in asked]
    hops = [replace(hop, identity_file=hop.identity_file or to.identity_file) for hop in hops]
    loops = hops[0].proxy_jump is None or parse_jump(hops[0].proxy_jump.split(",")[0]).address == asked[0].address
    before = [] if loops else _jumps(hops[0])
    if len(before) + len(hops) > _MAX_JUMPS:
        raise Unreachable(
            f"{to.address}: more than {_MAX_JUMPS} jump hosts; does ProxyJump in ~/.ssh/config lead back?"
        )
    return [*before, *hops]


def _client(
    name: str, to: SshAddress, deadline: Deadline, behind: paramiko.SSHClient | None, by: SocketAddress | None
) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    try:
        _trust(client, to)
        sock = _tunnel(behind, to, deadline) if behind else _dial([by] if by else socket_addresses(to), deadline)
        with _watchdog(sock, deadline):
            client.connect(
                to.address,
                to.port or 22,
                to.user,
                key_filename=str(Path(to.identity_file).expanduser()) if to.identity_file else None,
                timeout=deadline.left(),
                banner_timeout=deadline.left(),
                auth_timeout=deadline.left(),
                sock=sock,
            )
        transport = client.get_transport()
        if transport is None or not transport.is_authenticated():
            raise TimeoutError(f"not open after {to.connect_timeout:g} s")
        transport.set_keepalive(_KEEPALIVE)
    except FAILURES as error:
        client.close()
        raise Unreachable(f"{name}: no SSH to {to.address} port {to.port}: {_explained(error, to)}") from error
    return client


def _dial(addresses: list[SocketAddress], deadline: Deadline) -> socket.socket:
    """Connect to the first address that answers; none takes the time of those after it."""
    for index, address in enumerate(addresses):
        sock = socket.socket(socket.AF_INET6 if len(address) == 4 else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left() / (len(addresses) - index))
            sock.connect(address)
            # a command is a few small packets to and fro: Nagle's algorithm would hold each for an acknowledgement
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError:
            sock.close()
            if index == len(addresses) - 1:
                raise
    raise OSError("the name has no address")


def _tunnel(behind: paramiko.SSHClient, to: SshAddress, deadline: Deadline) -> paramiko.Channel:
    transport = behind.get_transport()
    if transport is None:
        raise EOFError("the jump host closed the connection")
    return transport.open_channel(
        "direct-tcpip", (to.address, to.port or 22), ("127.0.0.1", 0), timeout=deadline.left()
    )


@contextmanager
def _watchdog(sock: socket.socket | paramiko.Channel, deadline: Deadline) -> Iterator[None]:
    timer = threading.Timer(deadline.left(), sock.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _trust(client: paramiko.SSHClient, to: SshAddress) -> None:
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    name = to.address if (to.port or 22) == 22 else f"[{to.address}]:{to.port}"
    for kind, key in (_known_hosts(to).lookup(name) or {}).items():
        client.get_host_keys().add(name, kind, key)


def _known_hosts(to: SshAddress) -> paramiko.HostKeys:
    """Return the keys of all hosts that are known. Raises OSError where the file that was named can't be read."""
    if to.known_hosts:
        files = [Path(to.known_hosts).expanduser()]
    else:
        files = [f for f in (Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts")) if f.is_file()]
    stamps = tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    with _PARSING:
        return _parsed(stamps)


@lru_cache(maxsize=4)
def _parsed(stamps: tuple[tuple[str, int, int], ...]) -> paramiko.HostKeys:
    """Parse known_hosts files as they are now, once for all connections: paramiko takes the square of their length."""
    keys = paramiko.HostKeys()
    for path, _, _ in stamps:
        keys.load(path)
    return keys


def _explained(error: BaseException, to: SshAddress) -> str:
    if isinstance(error, paramiko.BadHostKeyException) or "not found in known_hosts" in str(error):
        where = to.known_hosts or "~/.ssh/known_hosts"
        return f"{error}; host keys are always checked: add the host's key to {where} after comparing it"
    return str(error) or type(error).__name__


def _execute(channel: paramiko.Channel, command: str, deadline: Deadline, stdin: bytes) -> Completed:
    channel.settimeout(deadline.left())
    channel.exec_command(command)
    channel.sendall(stdin)
    channel.shutdown_write()
    stdout, stderr = _read(channel, deadline)
    if not channel.status_event.wait(deadline.left()):
        raise TimeoutError("the time is over")
    if channel.exit_status < 0:
        raise EOFError("the connection closed before the command ended")
    return Completed(channel.exit_status, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def _read(channel: paramiko.Channel, deadline: Deadline) -> tuple[bytes, bytes]:
    """Return both streams to their ends; neither may fill its window while the other is waited for."""
    stdout, stderr = bytearray(), bytearray()
    while True:
        while channel.recv_stderr_ready():
            stderr += channel.recv_stderr(65536)
        channel.settimeout(min(_POLL, deadline.left()))
        try:
            data = channel.recv(65536)
        except TimeoutError:
            continue
        if not data:
            break
        stdout += data
    channel.settimeout(deadline.left())
    while data := channel.recv_stderr(65536):
        stderr += data
        channel.settimeout(deadline.left())
    return bytes(stdout), bytes(stderr)
