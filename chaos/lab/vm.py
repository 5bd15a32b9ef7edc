"""A host that is a virtual machine: QEMU in software emulation, Debian's kernel, this machine's root under an overlay.

    eth0    a user-mode network for management: nothing gets out, and 127.0.0.1:PORT leads to the guest's sshd
    eth1    the data network: a port of `chaos.lab.switch`
    eth2    once its driver is loaded (`modprobe e1000e`): a NIC with Ethernet pause, which virtio has not; unplugged

The keeper makes one `VirtualHost` per host and runs it. Off is a power cut (SIGKILL), on starts the same machine again
on the same ports. A host is ready when its console says so, its clock is the TSC and its sshd answers; one that hangs
in early boot or comes up on another clock is started again, a few times. A guest that reboots or panics ends its QEMU
(a reset in place hangs a microvm), and is then started afresh, as a machine set to "always on" after a power loss is.

KVM may be visible and still unusable, and emulation is fast enough for what the lab is for, so KVM is not tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import Unreachable
from chaos.lab.children import on_end, start_child, tail
from chaos.lab.image import Image
from chaos.lab.layout import SERVICE_PORT, HostLayout
from chaos.lab.tools import which

MEMORY_MIB = 320
BOOT_SECONDS = 90.0
ATTEMPTS = 3
_GUEST = Path(__file__).with_name("guest.sh")
_POLL = 0.05
_PORTS = range(20000, 32768)


@dataclass(frozen=True)
class Boot:
    """What every machine of a lab boots with; `folder` is the lab's, and paths given to QEMU are relative to it."""

    image: Image
    folder: Path
    tsc_khz: int
    hosts_file: str


class VirtualHost:
    """One machine. Made switched off; everything but `__init__` runs in the keeper's event loop."""

    def __init__(self, layout: HostLayout, boot: Boot, ports: tuple[socket.socket, ...]) -> None:
        self.layout, self.name = layout, layout.name
        self._boot = boot
        self._reserved = ports
        self.ports = tuple(port.getsockname()[1] for port in ports)
        self._machine: subprocess.Popen[bytes] | None = None
        self._cut = False
        self._off = asyncio.Event()
        self._files = boot.folder / "hosts" / layout.name
        self._write_files()

    @property
    def is_on(self) -> bool:
        """Whether the machine has power."""
        return self._machine is not None

    async def power_on(self) -> None:
        """Start the machine, where it is off."""
        if self._machine:
            return
        self._cut = False
        self._off.clear()
        self._start()

    async def power_off(self) -> None:
        """Cut the power, where it is on, and wait until the machine is gone."""
        if self._machine:
            self._cut = True
            self._machine.kill()
            await self._off.wait()

    async def ready(self) -> None:
        """Wait until the host can be used. Raises Unreachable, with the end of its console, when it never can."""
        for _ in range(ATTEMPTS):
            await self.power_on()
            if await self._booted() and await self._sshd_answers():
                return
            await self.power_off()
        raise Unreachable(
            f"{self.name} did not boot in {ATTEMPTS} attempts of {BOOT_SECONDS:.0f} s; {self.last_words()}"
        )

    def last_words(self) -> str:
        """Return the end of what QEMU and the guest's console said."""
        return f"QEMU said: {tail(self._log('qemu'))}\nits console: {tail(self._log('console'))}"

    def _ended(self) -> None:
        """Take note that the machine is gone; start it again where nobody cut its power and it had been up."""
        if self._machine:
            self._machine.wait()
        self._machine = None
        # what is off keeps its ports, so that it gets the same ones when it is on again
        with contextlib.suppress(OSError):
            self._reserved = tuple(reserve(port) for port in self.ports)
        if self._word() and not self._cut:
            self._start()
        else:
            self._off.set()

    def _start(self) -> None:
        for port in self._reserved:
            port.close()
        self._log("console").unlink(missing_ok=True)
        self._machine = start_child(self._command(), self._log("qemu"), self._boot.folder)
        on_end(self._machine.pid, self._ended)

    def _word(self) -> str:
        """Return the line by which the guest said that it is up, empty before it did."""
        return next((line for line in tail(self._log("console"), 1000).splitlines() if "lab: ready" in line), "")

    async def _booted(self) -> bool:
        """Wait for the console's word; False when it is late, the machine ends, or its clock is not the TSC."""
        deadline = time.monotonic() + BOOT_SECONDS
        while self.is_on and time.monotonic() < deadline:
            if word := self._word():
                return word.endswith("clocksource=tsc")
            await asyncio.sleep(_POLL)
        return False

    async def _sshd_answers(self) -> bool:
        deadline = time.monotonic() + BOOT_SECONDS
        while self.is_on and time.monotonic() < deadline:
            if await _banner(self.ports[0]):
                return True
            await asyncio.sleep(_POLL)
        return False

    def _log(self, what: str) -> Path:
        return self._boot.folder / "logs" / f"{self.name}.{what}"

    def _write_files(self) -> None:
        """Write what the guest finds in /run/lab."""
        image, layout = self._boot.image, self.layout
        settings = {
            "hostname": layout.name,
            "address": f"{layout.address}/24",
            "address6": f"{layout.address6}/64",
            "modules": str(image.modules),
            "release": image.release,
        }
        self._files.mkdir(parents=True)
        shutil.copyfile(_GUEST, self._files / "guest.sh")
        shutil.copyfile(image.folder / "host_key", self._files / "host_key")
        (self._files / "host_key").chmod(0o600)
        shutil.copyfile(image.folder / "client_key.pub", self._files / "authorized_keys")
        (self._files / "hosts").write_text(self._boot.hosts_file)
        (self._files / "settings").write_text("".join(f"{k}={shlex.quote(v)}\n" for k, v in settings.items()))
        (self._files / "workload.sh").write_text(layout.script(f"0.0.0.0:{SERVICE_PORT}"))

    def _command(self) -> list[str | Path]:
        """Return QEMU's command line."""
        image, name = self._boot.image, self.name
        forwards = [
            f"hostfwd=tcp:127.0.0.1:{port}-:{to}" for port, to in zip(self.ports, (22, SERVICE_PORT), strict=False)
        ]
        kernel_line = (
            "console=ttyS0 quiet panic=-1 reboot=t mitigations=off net.ifnames=0 "
            f"tsc=reliable tsc_early_khz={self._boot.tsc_khz} lab.host={name}"
        )
        arguments: dict[str, str | Path] = {
            "name": f"gameday-{name}",
            "machine": "microvm,acpi=on,pcie=on,rtc=on",
            "accel": "tcg,thread=multi,tb-size=128",
            "cpu": "max",
            "smp": "1",
            "m": str(MEMORY_MIB),
            "kernel": image.folder / "kernel",
            "initrd": image.folder / "initramfs.gz",
            "append": kernel_line,
            "serial": f"file:logs/{name}.console",
            "display": "none",
            "monitor": "none",
        }
        local, remote = f"local.type=unix,local.path={name}.host", f"remote.type=unix,remote.path={name}.switch"
        devices = [
            "-no-reboot",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=lab,path=hosts/{name},security_model=none,readonly=on",
            "-device", "virtio-9p-pci,fsdev=lab,mount_tag=lab",
            "-netdev", ",".join(("user,id=manage,restrict=on,ipv6=off", *forwards)),
            "-device", "virtio-net-pci,netdev=manage,romfile=",
            "-netdev", f"dgram,id=data,{local},{remote}",
            "-device", f"virtio-net-pci,netdev=data,romfile=,mac={self.layout.mac}",
            "-device", "e1000e,romfile=",
        ]  # fmt: skip
        options: list[str | Path] = [word for option, value in arguments.items() for word in (f"-{option}", value)]
        return [which("qemu-system-x86_64"), "-nodefaults", "-no-user-config", *options, *devices]


def reserve(port: int = 0) -> socket.socket:
    """Return a socket that holds a port of 127.0.0.1 (any free one for 0) without listening on it. Raises OSError.

    A free one is taken below the range that Linux gives to outgoing connections, so that none takes it meanwhile.
    """
    for candidate in [port] if port else random.sample(_PORTS, 100):
        held = socket.socket()
        # a port of our own may have connections that linger; but two that both reuse may hold one port (socket(7))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(port != 0))
        try:
            held.bind(("127.0.0.1", candidate))
        except OSError:
            held.close()
        else:
            return held
    raise OSError(f"no free port of 127.0.0.1 among {port or _PORTS}")


async def _banner(port: int) -> bool:
    """Whether an SSH server introduces itself there (RFC 4253 4.2); QEMU accepts a connection before the guest does."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            said = await reader.read(4)
            writer.close()
    except (OSError, TimeoutError):
        return False
    return said == b"SSH-"
