"""The files that hosts over SSH need: keys, sshd's configuration, who is known, the inventory, accounts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SSHD = "/usr/sbin/sshd"  # it wants to be started by its whole name
PLAIN_USER, SUDO_USER, PASSWORD_USER = "plain", "admin", "careful"
PASSWORD = "correct horse"
"""`plain` may not become root; `admin` may by `sudo` without a password, `careful` with this one."""

# One key exchange and cipher, fast and known to every client: with hundreds of hosts on one machine they are dear.
_SSHD_CONFIG = """\
HostKey {folder}/host_key
PidFile /run/sshd.pid
AuthorizedKeysFile {folder}/client_key.pub
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
Ciphers aes128-ctr
MACs hmac-sha2-256
MaxStartups 100
LogLevel ERROR
"""


def address(number: int) -> str:
    """Return the IPv4 address of the host of that number, from 1."""
    return f"10.78.{1 + number // 250}.{1 + number % 250}"


def address6(number: int) -> str:
    """Return its IPv6 address."""
    return f"fd78::1:{number:x}"


def write_keys(folder: Path, sshd_options: Iterable[str]) -> None:
    """Write the hosts' key, the client's, one that nobody knows, and sshd's configuration."""
    folder.chmod(0o755)
    for key in ("host_key", "client_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(folder / key)], check=True)
    # sshd takes the first value that it reads
    config = "".join(f"{option}\n" for option in sshd_options) + _SSHD_CONFIG.format(folder=folder)
    (folder / "sshd_config").write_text(config)


def known_hosts(folder: Path, count: int) -> str:
    """Return the lines by which ssh knows the hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    key = (folder / "host_key.pub").read_text()
    return "".join(f"{address(number)},{address6(number)} {key}" for number in range(1, count + 1))


def inventory(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return the inventory of the hosts, all of them in the group `workers`."""
    defaults = {
        "connection": "ssh",
        "user": "root",
        "identity_file": str(folder / "client_key"),
        "known_hosts": str(folder / "known_hosts"),
        "interface": "eth0",
    }
    hosts = {name: {"address": address(number)} for number, name in enumerate(names, 1)}
    return {"defaults": defaults, "hosts": hosts, "groups": {"workers": list(names)}}


def write_accounts(etc: Path) -> Path:
    """Write the files of /etc that give a host our three users beside root; return their folder.

    Root gets an empty home and a plain shell: sshd starts it for each command, and with it what its files start.
    """
    etc.mkdir(mode=0o755)
    secret = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout
    users = {PLAIN_USER: ("*", 6001), SUDO_USER: ("*", 6002), PASSWORD_USER: (secret.strip(), 6003)}
    passwd = [f"{name}:x:{number}:{number}::/run/home:/bin/sh" for name, (_, number) in users.items()]
    shadow = [f"{name}:{hashed}:19000:0:99999:7:::" for name, (hashed, _) in users.items()]
    group = [f"{name}:x:{number}:" for name, (_, number) in users.items()]
    others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    passwd = ["root:x:0:0:root:/run/home:/bin/sh", *others, *passwd]
    _write(etc / "passwd", "", passwd, 0o644)
    _write(etc / "group", Path("/etc/group").read_text(), group, 0o644)
    _write(etc / "shadow", Path("/etc/shadow").read_text(), shadow, 0o600)
    rules = ["root ALL=(ALL) ALL", f"{SUDO_USER} ALL=(ALL) NOPASSWD: ALL", f"{PASSWORD_USER} ALL=(ALL) ALL"]
    _write(etc / "sudoers", "", rules, 0o440)
    return etc


def _write(file: Path, begin: str, lines: Iterable[str], mode: int) -> None:
    file.write_text(begin + "\n".join(lines) + "\n")
    file.chmod(mode)
