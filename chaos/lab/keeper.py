"""The process that a lab lives in: it owns every host, and every host ends with it, whatever ends it.

`python -m chaos.lab.keeper FOLDER` reads a layout (JSON) on standard input, makes itself a daemon and its folder
afresh, starts the hosts, and then answers `chaos.lab.control` until it is told to go, until its owner ends, or until it
is killed: in the last case the kernel ends the hosts (`chaos.lab.children`), so nothing is left to clean up but files.
One keeper holds a folder's lock at a time; what a killed keeper left in the folder is removed by the next.

One thread, one event loop: the death signal of a child is tied to the thread that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Protocol

from chaos.errors import ChaosError, Refusal
from chaos.lab.children import on_end
from chaos.lab.control import SOCKET, Message
from chaos.lab.layout import Layout
from chaos.lab.serving import wait_until_serving

_LOCK = "lock"


class Hosts(Protocol):
    """All hosts of a lab of one kind, as the keeper sees them."""

    endpoint: str

    async def start(self) -> None:
        """Start every host and return when all are ready; raises a ChaosError that says which is not, and why."""

    async def stop(self) -> None:
        """End every host and return when nothing of them is left."""

    async def power(self, host: str, to: str) -> str:
        """Switch a host "on" or "off" (or only look, "status") and return which it is; raises Refusal."""

    def inventory(self) -> str:
        """Return the inventory's text, once the hosts are ready."""

    def last_words(self) -> str:
        """Return the end of what the gateway said."""


class Keeper:
    """Keeps one lab."""

    def __init__(self, layout: Layout, hosts: Hosts, folder: Path) -> None:
        self._layout, self._hosts, self._folder = layout, hosts, folder
        self._state, self._why = "starting", ""
        self._end = asyncio.Event()

    async def run(self) -> None:
        """Keep the lab until the end of it."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, self._end.set)
        if self._layout.owner is not None:
            on_end(self._layout.owner, self._end.set)
        server = await asyncio.start_unix_server(self._answer, SOCKET)
        starting = asyncio.create_task(self._start())
        await self._end.wait()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await self._hosts.stop()
        server.close()

    async def _start(self) -> None:
        try:
            await self._hosts.start()
            if self._layout.gateway.command:
                await wait_until_serving(self._hosts.endpoint, self._layout.serve_within, self._hosts.last_words)
            (self._folder / "inventory.yaml").write_text(self._hosts.inventory())
            self._state = "up"
        except ChaosError as error:
            self._state, self._why = "failed", str(error)
        except Exception as error:  # whatever it is, whoever waits for the lab has to hear of it
            self._state, self._why = "failed", f"{type(error).__name__}: {error}"
            traceback.print_exc()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request. A client that went away is no concern of the lab's."""
        with contextlib.suppress(ConnectionError):
            try:
                answer = await self._do(json.loads(await reader.readline()))
            except (ChaosError, ValueError, KeyError) as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
            writer.close()

    async def _do(self, request: Message) -> Message:
        match request:
            case {"do": "status"}:
                return self._status()
            case {"do": "power", "host": str(host), "to": ("on" | "off" | "status") as to}:
                return {"power": await self._hosts.power(host, to)}
            case {"do": "down"}:
                self._end.set()
                await self._hosts.stop()
                return {}
        raise Refusal(f"the lab's keeper was asked {request}; it knows status, power (on, off, status) and down")

    def _status(self) -> Message:
        layout = self._layout
        return {
            "state": self._state,
            "problem": self._why,
            "kind": layout.kind,
            "why": layout.why,
            "hosts": [host.name for host in layout.hosts],
            "endpoint": self._hosts.endpoint,
            "keeper": os.getpid(),
        }


def make_hosts(layout: Layout, folder: Path) -> Hosts:
    """Return the hosts of a layout, not started."""
    if layout.kind == "vm":
        from chaos.lab.vm_hosts import VirtualHosts

        return VirtualHosts(layout, folder)
    from chaos.lab.netns import NamespacedHosts

    return NamespacedHosts(layout, folder)


async def keep(layout: Layout, folder: Path) -> None:
    """Make the hosts and keep them."""
    await Keeper(layout, make_hosts(layout, folder), folder).run()


def main() -> None:
    """Become the keeper of the folder named on the command line, unless there is one."""
    folder = Path(sys.argv[1])
    layout = Layout.from_json(sys.stdin.read())
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # fuses and a key lie there too
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    lock = (folder / _LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another keeper was faster; whoever started this one will find that one
    _become_daemon(folder)
    _clear(folder)
    (folder / "logs").mkdir()
    asyncio.run(keep(layout, folder))
    _clear(folder)


def _become_daemon(folder: Path) -> None:
    """Let the caller go on, leave its session, and say everything to keeper.log from here on."""
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir(folder)
    log = os.open("keeper.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)


def _clear(folder: Path) -> None:
    """Remove everything from the folder but the lock that is held and the keeper's own log."""
    for path in folder.iterdir():
        if path.name in (_LOCK, "keeper.log"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


if __name__ == "__main__":
    main()
