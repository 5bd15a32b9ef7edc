"""Hosts over SSH, through paramiko. One kept connection a host: a key exchange is dear, a channel is cheap.

A lost connection is opened again by the next command, also where that is what finds it lost; no command is ever sent
twice. A command's timeout is over all of it but connecting. Since a timeout may mean that the path is gone, no later
command uses that connection; those that run on it go on.

`become: sudo` hands the password in by standard input, where no `ps` shows it, and takes standard input away from the
script, which a password that sudo did not ask for would otherwise reach.
"""

from __future__ import annotations

import threading
from ipaddress import IPv6Address, ip_address
from shlex import quote

from chaos.contracts import Completed
from chaos.errors import Unreachable
from chaos.kernel import Flow
from chaos.targets._base import HostTarget
from chaos.targets._ssh import (
    FAILURES,
    Connection,
    Deadline,
    NotSent,
    SocketAddress,
    SshAddress,
    connect,
    socket_addresses,
)
from chaos.targets.power import PowerController

__all__ = ["SshAddress", "SshTarget"]

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C"
_ASK_PEER = 'printf %s "$SSH_CONNECTION"'


class SshTarget(HostTarget):
    """One host over one connection, opened when first needed. Safe to use from several threads."""

    def __init__(self, name: str, address: SshAddress, power: PowerController | None = None) -> None:
        super().__init__(name, power)
        self._address = address.resolved()
        self._connection: Connection | None = None
        self._users: dict[Connection, int] = {}
        self._flows: dict[Connection, tuple[Flow, ...]] = {}
        """Which flows carry the connection, once it was asked: no question of it changes that."""
        self._lock = threading.Lock()

    def _run(self, script: str, timeout: float) -> Completed:
        return self._execute(self._command(script), timeout, script, self._password_line())

    def control_path(self) -> tuple[Flow, ...]:
        """Return the flows of this connection as the host sees them, behind whatever NAT (sshd's SSH_CONNECTION).

        A name may have several addresses, of both families; a connection that is opened again may take another, and so
        come from another of ours. Each that answers is asked, once for each connection of ours.
        """
        connection = self._taken()
        try:
            if connection not in self._flows:
                flows = self._ask_flows()
                if connection is self._connection:
                    self._flows = {connection: flows}
                return flows
            return self._flows[connection]
        finally:
            self._let_go(connection)

    def _ask_flows(self) -> tuple[Flow, ...]:
        flows = [self._flow(self._execute(_ASK_PEER, 10, _ASK_PEER).stdout)]
        for by in self._other_ways():
            try:
                other = connect(self.name, self._address, by=by)
            except Unreachable:
                continue  # nor can a later connection come this way
            try:
                flows.append(self._flow(other.execute(_ASK_PEER, Deadline(10)).stdout))
            except FAILURES as error:
                raise Unreachable(f"{self.name}: connected by {by[0]}, and then: {_said(error)}") from error
            finally:
                other.close()
        return tuple(dict.fromkeys(flows))

    def probe_control_path(self) -> None:
        """Open a second connection, authenticate, run a command as the undo would, close it; all within one deadline.

        Raises Unreachable.
        """
        deadline = Deadline(self._address.connect_timeout)
        second = connect(self.name, self._address)
        try:
            done = second.execute(self._command("true"), deadline, self._password_line())
        except FAILURES as error:
            raise Unreachable(f"{self.name}: a second connection opened and then failed: {_said(error)}") from error
        finally:
            second.close()
        if done.status:
            raise Unreachable(
                f"{self.name}: over a second connection `true` ended with {done.status}: {done.stderr.strip()[:200]}"
            )

    def close(self) -> None:
        """Close the connection; a later command opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _execute(self, command: str, timeout: float, said: str, stdin: bytes = b"") -> Completed:
        try:
            try:
                return self._over_one(command, timeout, stdin)
            except NotSent:
                return self._over_one(command, timeout, stdin)
        except FAILURES as error:
            why = f"no answer within {timeout:.0f} s" if isinstance(error, TimeoutError) else _said(error)
            raise Unreachable(f"{self.name}: lost while running `{said.strip()[:200]}`: {why}") from error

    def _over_one(self, command: str, timeout: float, stdin: bytes) -> Completed:
        """Run it over the connection there is, or a new one; no later command uses one that fails."""
        connection = self._taken()
        try:
            return connection.execute(command, Deadline(timeout), stdin)
        except FAILURES:
            self._retire(connection)
            raise
        finally:
            self._let_go(connection)

    def _command(self, script: str) -> str:
        detach = "exec </dev/null; " if self._address.sudo_password else ""
        shell = f"sh -c {quote(f'{detach}export {_PATH}; {script}')}"
        if self._address.become != "sudo":
            return f"exec {shell}"
        return f"exec sudo -S -p '' {shell}" if self._address.sudo_password else f"exec sudo -n {shell}"

    def _password_line(self) -> bytes:
        asked = self._address.become == "sudo" and self._address.sudo_password
        return f"{self._address.sudo_password}\n".encode() if asked else b""

    def _flow(self, said: str) -> Flow:
        words = said.split()
        if len(words) != 4:
            raise Unreachable(f"{self.name}: sshd does not say SSH_CONNECTION, so the control path can't be exempted")
        peer = ip_address(words[0].partition("%")[0])
        mapped = peer.ipv4_mapped if isinstance(peer, IPv6Address) else None
        return Flow(mapped or peer, int(words[3]))

    def _other_ways(self) -> list[SocketAddress]:
        """Return the addresses of the host's name where it has several and we dial it ourselves."""
        if self._address.proxy_jump:
            return []
        try:
            ways = socket_addresses(self._address)
        except OSError as error:
            raise Unreachable(f"{self.name}: {self._address.address} has no address: {error}") from error
        return ways if len(ways) > 1 else []

    def _taken(self) -> Connection:
        """Return the connection there is, or a new one, noted as in use."""
        with self._lock:
            if self._connection is None or not self._connection.is_active:
                self._connection = connect(self.name, self._address)
            self._users[self._connection] = self._users.get(self._connection, 0) + 1
            return self._connection

    def _retire(self, connection: Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None

    def _let_go(self, connection: Connection) -> None:
        """Close a retired connection once nobody uses it."""
        with self._lock:
            self._users[connection] -= 1
            if self._users[connection]:
                return
            del self._users[connection]
            idle = self._connection is not connection
        if idle:
            connection.close()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
