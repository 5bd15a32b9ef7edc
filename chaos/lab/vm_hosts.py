"""All virtual hosts of a lab, with the switch between them: the `Hosts` of the keeper for kind vm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from chaos.errors import Refusal
from chaos.lab import inventory
from chaos.lab.children import on_end, start_child
from chaos.lab.image import Image
from chaos.lab.layout import Layout, hosts_file
from chaos.lab.tsc import tsc_khz
from chaos.lab.vm import Boot, VirtualHost, reserve


class VirtualHosts:
    """The machines of a layout, each reached by ports of 127.0.0.1; `endpoint` is the gateway's service."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        self._layout, self._folder = layout, folder
        self._image = Image(Path(layout.image))
        boot = Boot(self._image, folder, tsc_khz(), hosts_file(layout))
        ports = {h.name: (reserve(),) for h in layout.workers} | {layout.gateway.name: (reserve(), reserve())}
        self._hosts = {h.name: VirtualHost(h, boot, ports[h.name]) for h in layout.hosts}
        self._ports = {name: host.ports for name, host in self._hosts.items()}
        self._gateway = self._hosts[layout.gateway.name]
        self.endpoint = f"127.0.0.1:{self._gateway.ports[1]}"
        self._switch: subprocess.Popen[bytes] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Start the switch and every machine; return when all are ready."""
        self._start_switch()
        await asyncio.gather(*(host.ready() for host in self._hosts.values()))
        (self._folder / "known_hosts").write_text(inventory.known_hosts(self._ports, self._image.host_key))

    async def stop(self) -> None:
        """Cut the power of every machine and end the switch."""
        self._stopping = True
        await asyncio.gather(*(host.power_off() for host in self._hosts.values()))
        if self._switch:
            self._switch.kill()
            self._switch.wait()

    async def power(self, host: str, to: str) -> str:
        """Switch a machine; "on" does not wait until it has booted, as no power controller does."""
        if host not in self._hosts:
            raise Refusal(f"the lab has no host {host!r}; its hosts are {', '.join(self._hosts)}")
        machine = self._hosts[host]
        if to == "on":
            await machine.power_on()
        elif to == "off":
            await machine.power_off()
        return "on" if machine.is_on else "off"

    def inventory(self) -> str:
        """Return the inventory's text."""
        made = inventory.vm_inventory(self._layout, self._ports, self._image.folder, self._folder)
        return inventory.to_yaml(made)

    def last_words(self) -> str:
        """Return the end of what the gateway said."""
        return self._gateway.last_words()

    def _start_switch(self) -> None:
        """Start the switch, and again whenever it ends."""
        if self._stopping:
            return
        command = [sys.executable, "-m", "chaos.lab.switch", *self._hosts]
        self._switch = start_child(command, self._folder / "logs/switch", self._folder)
        on_end(self._switch.pid, self._start_switch)
