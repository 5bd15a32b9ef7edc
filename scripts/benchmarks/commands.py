"""What our targets send to a host, noted, so that another client can send the very same."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.contracts import Completed
from chaos.targets.ssh import SshAddress, SshTarget


@dataclass(frozen=True)
class Command:
    """One command line for sshd; `second`: over a second connection, opened for it beside the first."""

    line: str
    second: bool = False


@dataclass(frozen=True)
class Host:
    """A host, how it is reached, and the commands it was sent, in order."""

    name: str
    address: SshAddress
    commands: list[Command] = field(default_factory=list)


class NotingTarget(SshTarget):
    """A target that notes what it sends."""

    def __init__(self, name: str, address: SshAddress) -> None:
        super().__init__(name, address)
        self.noted = Host(name, address)

    def open(self) -> None:
        """Connect, and send nothing."""
        self._let_go(self._taken())

    def probe_control_path(self) -> None:
        """Note the second connection, and open it."""
        self.noted.commands.append(Command(self._command("true"), second=True))
        super().probe_control_path()

    def _execute(self, command: str, timeout: float, said: str, stdin: bytes = b"") -> Completed:
        self.noted.commands.append(Command(command))
        return super()._execute(command, timeout, said, stdin)
