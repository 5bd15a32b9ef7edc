"""Hosts over SSH, through paramiko. One kept connection a host: a key exchange is dear, a channel is cheap.

The host key is always checked: against the inventory's `known_hosts`, else the user's and the system's files; an
unknown or changed key is an Unreachable that names the file. `~/.ssh/config`, agents, ProxyJump and sudo work as with
ssh(1).

A lost connection is opened again by the next command; no command is ever sent twice.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from shlex import quote

import paramiko

from chaos.contracts import Completed
from chaos.errors import Unreachable
from chaos.kernel import Flow
from chaos.targets._base import HostTarget
from chaos.targets.power import CommandPower

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C"
# what paramiko's own thread meets is raised here too, as Unreachable; without a handler it would print a traceback
logging.getLogger("paramiko").addHandler(logging.NullHandler())
_KEEPALIVE = 5  # s: a dead peer is noticed while nothing is asked of it


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
        return SshAddress(
            address=found.get("hostname", self.address),
            port=self.port or int(found.get("port", 22)),
            user=self.user or found.get("user"),
            identity_file=self.identity_file or next(iter(found.get("identityfile", [])), None),
            known_hosts=self.known_hosts,
            proxy_jump=self.proxy_jump or found.get("proxyjump"),
            become=self.become,
            sudo_password=self.sudo_password,
            connect_timeout=self.connect_timeout,
        )


class SshTarget(HostTarget):
    """One host over one connection, opened when first needed. Safe to use from several threads."""

    def __init__(self, name: str, address: SshAddress, power: CommandPower | None = None) -> None:
        super().__init__(name, power)
        self._address = address.resolved()
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()

    def _run(self, script: str, timeout: float) -> Completed:
        client = self._connected()
        try:
            return _execute(client, self._command(script), timeout, self._password_line())
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._drop(client)
            why = f"no answer within {timeout:.0f} s" if isinstance(error, TimeoutError) else f"{error}"
            raise Unreachable(f"{self.name}: lost while running `{script.strip()[:200]}`: {why}") from error

    def control_path(self) -> tuple[Flow, ...]:
        """Return the flow of this connection as the host sees it, behind whatever NAT (sshd's SSH_CONNECTION)."""
        client = self._connected()
        seen = _execute(client, 'printf %s "$SSH_CONNECTION"', 10).stdout.split()
        if len(seen) != 4:
            raise Unreachable(f"{self.name}: sshd does not say SSH_CONNECTION, so the control path can't be exempted")
        return (Flow(ip_address(seen[0].partition("%")[0]), int(seen[3])),)

    def probe_control_path(self) -> None:
        """Open a second connection, run a command over it, close it."""
        second = self._open()
        try:
            _execute(second, "true", self._address.connect_timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise Unreachable(f"{self.name}: a second connection opened and then failed: {error}") from error
        finally:
            second.close()

    def close(self) -> None:
        """Close the connection; a later command opens it again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _command(self, script: str) -> str:
        shell = f"sh -c {quote(f'export {_PATH}; {script}')}"
        if self._address.become != "sudo":
            return f"exec {shell}"
        # the password goes in by standard input, never by the command line, where `ps` would show it
        return f"sudo -S -p '' {shell}" if self._address.sudo_password else f"sudo -n {shell}"

    def _password_line(self) -> bytes:
        return f"{self._address.sudo_password}\n".encode() if self._address.sudo_password else b""

    def _connected(self) -> paramiko.SSHClient:
        with self._lock:
            transport = self._client.get_transport() if self._client else None
            if self._client is None or transport is None or not transport.is_active():
                self._client = self._open()
            return self._client

    def _drop(self, client: paramiko.SSHClient) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        client.close()

    def _open(self) -> paramiko.SSHClient:
        return _connect(self.name, self._address)


def _connect(name: str, to: SshAddress) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    try:
        _trust(client, to)
        client.connect(
            to.address,
            to.port or 22,
            to.user,
            key_filename=str(Path(to.identity_file).expanduser()) if to.identity_file else None,
            timeout=to.connect_timeout,
            banner_timeout=to.connect_timeout,
            auth_timeout=to.connect_timeout,
            sock=_through(name, to) if to.proxy_jump else None,
        )
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(_KEEPALIVE)
    except (paramiko.SSHException, OSError, EOFError) as error:
        client.close()
        raise Unreachable(f"{name}: no SSH to {to.address} port {to.port}: {_explained(error, to)}") from error
    return client


def _trust(client: paramiko.SSHClient, to: SshAddress) -> None:
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if to.known_hosts:
        client.load_host_keys(str(Path(to.known_hosts).expanduser()))
        return
    client.load_system_host_keys()
    if Path("/etc/ssh/ssh_known_hosts").is_file():
        client.load_system_host_keys("/etc/ssh/ssh_known_hosts")


def _through(name: str, to: SshAddress) -> paramiko.Channel:
    user, _, rest = (to.proxy_jump or "").rpartition("@")
    host, _, port = rest.partition(":")
    jump = SshAddress(host, int(port) if port else None, user or None, known_hosts=to.known_hosts).resolved()
    transport = _connect(f"{name} (jump host {host})", jump).get_transport()
    if transport is None:
        raise Unreachable(f"{name}: the jump host {host} closed the connection")
    return transport.open_channel(
        "direct-tcpip", (to.address, to.port or 22), ("127.0.0.1", 0), timeout=to.connect_timeout
    )


def _explained(error: Exception, to: SshAddress) -> str:
    if isinstance(error, paramiko.BadHostKeyException) or "not found in known_hosts" in str(error):
        where = to.known_hosts or "~/.ssh/known_hosts"
        return f"{error}; host keys are always checked: add the host's key to {where} after comparing it"
    return str(error) or type(error).__name__


def _execute(client: paramiko.SSHClient, command: str, timeout: float, stdin: bytes = b"") -> Completed:
    transport = client.get_transport()
    if transport is None:
        raise EOFError("the connection is closed")
    with transport.open_session(timeout=timeout) as channel:
        channel.settimeout(timeout)
        channel.exec_command(command)
        channel.sendall(stdin)
        channel.shutdown_write()
        stdout = channel.makefile("rb").read()
        stderr = channel.makefile_stderr("rb").read()
        status = channel.recv_exit_status()
    if status < 0:
        raise EOFError("the connection closed before the command ended")
    return Completed(status, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))
