"""A real OpenSSH server on loopback with keys of its own."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from chaos.targets.ssh import SshAddress

_CONFIG = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


@dataclass(frozen=True)
class RealSshd:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, program: str, folder: Path) -> RealSshd:
        for key in ("host_key", "client_key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "config").write_text(_CONFIG.format(port=port, folder=folder))
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it for its privilege separation
        process = subprocess.Popen([program, "-D", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
        server = cls(folder, port, process)
        server._wait_listening()
        return server

    def known_hosts(self, file: Path, key: str = "host_key") -> Path:
        """Write a known_hosts that names one of our keys as this server's."""
        public = (self.folder / f"{key}.pub").read_text()
        file.write_text(f"[127.0.0.1]:{self.port} {public}")
        return file

    def address(self, known_hosts: Path) -> SshAddress:
        return SshAddress(
            "127.0.0.1",
            self.port,
            getpass.getuser(),
            identity_file=str(self.folder / "client_key"),
            known_hosts=str(known_hosts),
            connect_timeout=15.0,
        )

    def cut_connections(self) -> None:
        """Kill the server's children: every connection is gone at once, the listener stays."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def stop(self) -> None:
        self.cut_connections()
        self.process.terminate()
        self.process.wait(10)

    def _wait_listening(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, "sshd ended"
                assert time.monotonic() < end, "sshd does not listen"
                time.sleep(0.02)
