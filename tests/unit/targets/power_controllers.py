"""Power controllers, real in all but the machine behind them: Redfish over TLS by sushy-tools, IPMI by OpenIPMI.

What they switch is a process, or a state in their memory. Both ask for a user and a password.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import trustme

USER, PASSWORD, WRONG = "ops", "a secret; $(id) 'quoted'", "not the secret"
SYSTEM = "27946b59-9e44-4fa7-8e91-f3527a1ef094"

# the emulator lets a switch take 1 to 11 s, by chance; hardware that always takes one second serves as well
_EMULATOR = """
import random, sys
from sushy_tools.emulator import main
random.randint = lambda low, high: low
sys.argv[0] = "sushy-emulator"
main.main()
"""
_CONFIG = """
SUSHY_EMULATOR_LISTEN_IP = "127.0.0.1"
SUSHY_EMULATOR_LISTEN_PORT = {port}
SUSHY_EMULATOR_SSL_CERT = {folder!r} + "/cert.pem"
SUSHY_EMULATOR_SSL_KEY = {folder!r} + "/cert.pem"
SUSHY_EMULATOR_AUTH_FILE = {folder!r} + "/htpasswd"
SUSHY_EMULATOR_STATE_DIR = {folder!r}
SUSHY_EMULATOR_FAKE_DRIVER = True
SUSHY_EMULATOR_FAKE_SYSTEMS = [
    {{"uuid": uuid, "name": name, "power_state": "On", "external_notifier": False, "nics": []}}
    for uuid, name in {systems!r}
]
"""
_LAN = """
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{machine}"
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_BMC = """
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
mc_enable 0x20
"""
_MACHINE = """#!/bin/sh
# ipmi_sim asks: get power, or set power 0|1. The machine is a process.
runs() {{ read -r pid <{pid} && read -r _ _ state _ </proc/$pid/stat && [ "$state" != Z ]; }} 2>/dev/null
case "$1 $2 $3" in
    'get power '*) if runs; then echo power:1; else echo power:0; fi ;;
    'set power 1') runs || {{ sleep 7251 </dev/null >/dev/null 2>&1 & echo $! >{pid}; }} ;;
    'set power 0') ! runs || kill -KILL "$(cat {pid})" ;;
esac
"""


@contextmanager
def redfish(folder: Path, systems: tuple[tuple[str, str], ...] = ((SYSTEM, "worker-1"),)) -> Iterator[str]:
    """A Redfish service; yields its URL. Its authority is in FOLDER/ca.pem."""
    authority, port = trustme.CA(), _free_port(socket.SOCK_STREAM)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"{USER}:{digest}\n")
    (folder / "emulator.conf").write_text(_CONFIG.format(port=port, folder=str(folder), systems=list(systems)))
    argv = [sys.executable, "-c", _EMULATOR, "--config", str(folder / "emulator.conf")]
    with _served(argv, lambda: socket.create_connection(("127.0.0.1", port), 1).close(), folder / "redfish.log"):
        yield f"https://127.0.0.1:{port}"


@contextmanager
def ipmi(folder: Path, password: str) -> Iterator[tuple[int, Path]]:
    """An IPMI controller; yields its port, and the file with the number of the process that is the machine."""
    port, machine, pid = _free_port(socket.SOCK_DGRAM), folder / "machine", folder / "pid"
    machine.write_text(_MACHINE.format(pid=pid))
    machine.chmod(0o700)
    (folder / "lan.conf").write_text(_LAN.format(port=port, machine=machine, user=USER, password=password))
    (folder / "bmc.emu").write_text(
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
    )
    argv = ["ipmi_sim", "-c", str(folder / "lan.conf"), "-f", str(folder / "bmc.emu"), "-s", str(folder), "-n"]
    asking = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(port), "-U", USER, "-P", password]

    def answers() -> None:  # it listens a while before it gives anybody a session
        if subprocess.run([*asking, "mc", "info"], capture_output=True, check=False).returncode:
            raise OSError

    try:
        with _served(argv, answers, folder / "ipmi.log"):
            subprocess.run([machine, "set", "power", "1"], check=True)  # it starts with the power off
            yield port, pid
    finally:
        subprocess.run([machine, "set", "power", "0"], check=True)


def runs(pid: Path) -> bool:
    """Whether the machine's process runs."""
    try:
        state = Path(f"/proc/{int(pid.read_text())}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool], within: float = 20) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.05)


@contextmanager
def _served(argv: list[str], ready: Callable[[], object], log: Path) -> Iterator[None]:
    with log.open("wb") as said, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=said, stderr=said) as server:
        try:
            wait_until(lambda: server.poll() is not None or _succeeds(ready))
            assert server.poll() is None, log.read_text()
            yield
        finally:
            server.terminate()


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
