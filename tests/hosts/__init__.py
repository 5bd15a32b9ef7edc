"""Hosts to reach over SSH, as many as one likes: namespaces of this machine's kernel, each with a real sshd.

    with ssh_hosts(3) as hosts, hosts.as_controller():
        target = hosts.target("worker-001")

A host is one process (`host.sh`) in mount, PID, UTS and network namespaces of its own, with what it started; /run is
its own too, so that what is placed there is on that host alone. Its eth0 is one end of a veth pair whose other end is a
port of the bridge `data`, which lies in one more network namespace: the controller's. From there, and from nowhere
else, the hosts are reached; `enter_command` starts a command there, `as_controller` moves the calling thread.

Everything ends with its owner: the kernel ends each host's first process (PR_SET_PDEATHSIG), with it every process of
its PID namespace, and with the last process the namespaces and interfaces (pid_namespaces(7)). Needs root and OpenSSH.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml

from chaos.contracts import Target
from chaos.lab.children import end_with
from chaos.run.connect import target_of
from chaos.spec.inventory import Inventory, load_inventory
from tests.hosts import files

CONTROLLER, CONTROLLER6 = "10.78.0.1", "fd78::1"
_HOST_SCRIPT = Path(__file__).with_name("host.sh")
_ISOLATE = ("unshare", "--fork", "--kill-child=SIGKILL", "--pid", "--net", "--mount", "--uts")
_CLONE_NEWNET = 0x40000000  # sched.h
_START_SECONDS = 60.0
_LIBC = ctypes.CDLL(None, use_errno=True)


def objection() -> str | None:
    """Return why this machine can't make such hosts, or None when it can."""
    if os.geteuid():
        return "namespaces need root"
    missing = [tool for tool in ("unshare", "nsenter", "ip", "ssh-keygen", files.SSHD) if not shutil.which(tool)]
    return f"needs {', '.join(missing)}" if missing else None


@contextmanager
def ssh_hosts(count: int, *, sshd_options: Sequence[str] = ()) -> Iterator[SshHosts]:
    """Hold `count` hosts that answer; all is gone afterwards. They have the users of `files`."""
    # below /tmp, for a host's other users must be able to read the keys that may log in
    folder = Path(tempfile.mkdtemp(prefix="gameday-hosts-"))
    hosts = SshHosts(folder, count)
    try:
        files.write_keys(folder, sshd_options)
        hosts._start(files.write_accounts(folder / "etc"))
        yield hosts
    finally:
        hosts.close()
        shutil.rmtree(folder)


class SshHosts:
    """Hosts that run, and what can be done to them from beside."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.names = tuple(f"worker-{number:03}" for number in range(1, count + 1))
        self.inventory_path = folder / "inventory.yaml"
        self.controller_pid = 0
        self._parents: list[subprocess.Popen[str]] = []
        self._first: dict[str, int] = {}
        self._host_options: tuple[Path, ...] = ()

    @property
    def enter_command(self) -> list[str]:
        """The beginning of a command line that runs in the controller's network namespace."""
        return ["nsenter", f"--net=/proc/{self.controller_pid}/ns/net", "--"]

    @contextmanager
    def as_controller(self) -> Iterator[None]:
        """Move the calling thread to the controller's network namespace; threads that it starts begin there."""
        with in_namespace_of(self.controller_pid):
            yield

    def inventory(self) -> Inventory:
        """Return the inventory of all hosts."""
        return load_inventory(self.inventory_path)

    def target(self, name: str) -> Target:
        """Return a target on a host over SSH; use it, and close it, as the controller."""
        return target_of(name, self.inventory().hosts[name])

    def pid_of(self, name: str) -> int:
        """Return a host's first process, as this machine numbers it."""
        return self._first[name]

    def address(self, name: str) -> str:
        """Return a host's IPv4 address."""
        return files.address(self._number(name))

    def address6(self, name: str) -> str:
        """Return a host's IPv6 address."""
        return files.address6(self._number(name))

    def inside(self, name: str, script: str) -> str:
        """Run sh text in a host, beside SSH, and return what it printed."""
        argv = ["nsenter", "--target", str(self.pid_of(name)), "--all", "sh", "-c", script]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30, cwd="/").stdout

    def cut(self, name: str) -> None:
        """Take the host's way to the network down, at the bridge."""
        self._ip([f"link set {self._port(name)} down"])

    def mend(self, name: str) -> None:
        """Give a host that was cut its way back."""
        self._ip([f"link set {self._port(name)} up"])

    def stop_sshd(self, name: str) -> None:
        """Kill sshd with every session; what sessions started goes on."""
        script = """for p in /proc/[0-9]*; do
            read -r comm 2>/dev/null <$p/comm && [ "$comm" = sshd ] && kill -KILL ${p#/proc/}
        done; rm -f /run/sshd.pid"""
        self.inside(name, script)

    def start_sshd(self, name: str) -> None:
        """Start sshd again and wait until it listens."""
        self.inside(name, f"{files.SSHD} -f {self.folder}/sshd_config")
        self._wait_listening(name)

    def reboot(self, name: str) -> None:
        """End a host's every process and start it anew, with the addresses it had; /run is empty then."""
        number, options = self._number(name), self._host_options
        old = self._parents[number]  # the controller's namespace is the first
        old.kill()
        with old:
            old.wait()
        _until(lambda: not Path(f"/proc/{self._first[name]}").exists(), f"{name} does not end")
        _remove_cgroups(self._first[name])
        host = self._child(*_ISOLATE, "sh", _HOST_SCRIPT, name, *options)
        self._parents[number] = self._parents.pop()
        self._first[name] = int(_line(host))
        self._unplug(name)
        self._ip(self._link(name))
        _say(host, f"{files.address(number)}/16 {files.address6(number)}/64")
        self._wait_listening(name)

    def close(self) -> None:
        """End every host and the controller's namespace."""
        for parent in self._parents:
            parent.kill()
        for parent in self._parents:
            with parent:
                parent.wait()
        gone = (*self._first.values(), self.controller_pid)
        _until(lambda: not any(process and Path(f"/proc/{process}").exists() for process in gone), "hosts do not end")
        for process in self._first.values():
            _remove_cgroups(process)

    def _start(self, etc: Path) -> None:
        (self.folder / "known_hosts").write_text(files.known_hosts(self.folder, len(self.names)))
        self.inventory_path.write_text(yaml.safe_dump(files.inventory(self.folder, self.names), sort_keys=False))
        controller = self._child("unshare", "--net", "sh", "-c", "ip link set lo up; echo up; read -r _")
        self._host_options = (self.folder / "sshd_config", etc)
        hosts = [self._child(*_ISOLATE, "sh", _HOST_SCRIPT, name, *self._host_options) for name in self.names]
        assert _line(controller) == "up"
        self.controller_pid = controller.pid
        self._first = {name: int(_line(host)) for name, host in zip(self.names, hosts, strict=True)}
        self._ip(self._links())
        for number, host in enumerate(hosts, 1):
            _say(host, f"{files.address(number)}/16 {files.address6(number)}/64")
        for name in self.names:
            self._wait_listening(name)

    def _links(self) -> Iterator[str]:
        # no snooping: the bridge would ask around for multicast listeners before it passes neighbour discovery
        yield "link add name data type bridge mcast_snooping 0"
        yield f"addr add {CONTROLLER}/16 dev data"
        yield f"addr add {CONTROLLER6}/64 dev data nodad"
        yield "link set data up"
        for name in self.names:
            yield from self._link(name)

    def _link(self, name: str) -> Iterator[str]:
        port = self._port(name)
        # an address of its own, the same after a reboot: neighbours remember it
        hardware = f"02:67:64:00:{self._number(name) >> 8:02x}:{self._number(name) & 255:02x}"
        end = f"name eth0 address {hardware} netns {self._first[name]}"
        yield f"link add name {port} master data type veth peer {end}"
        yield f"link set {port} up"

    def _child(self, *command: str | Path) -> subprocess.Popen[str]:
        owner = os.getpid()
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            preexec_fn=lambda: end_with(owner),
        )
        self._parents.append(child)
        return child

    def _unplug(self, name: str) -> None:
        """Take away the port of a host that has ended; the kernel does so too, and may have been faster, or may not."""
        command = [*self.enter_command, "ip", "link", "delete", self._port(name)]
        subprocess.run(command, check=False, capture_output=True)

    def _ip(self, lines: Iterator[str] | Sequence[str]) -> None:
        command = [*self.enter_command, "ip", "-batch", "-"]
        subprocess.run(command, input="\n".join(lines), check=True, text=True, capture_output=True)

    def _wait_listening(self, name: str) -> None:
        # sshd writes its PidFile once it listens
        file = Path(f"/proc/{self.pid_of(name)}/root/run/sshd.pid")
        _until(file.exists, f"{name}: sshd does not listen")

    def _number(self, name: str) -> int:
        return self.names.index(name) + 1

    def _port(self, name: str) -> str:
        return f"port-{self._number(name)}"


@contextmanager
def in_namespace_of(process: int) -> Iterator[None]:
    """Move the calling thread to the network namespace of a process, and back."""
    with Path("/proc/thread-self/ns/net").open() as former, Path(f"/proc/{process}/ns/net").open() as there:
        _set_namespace(there.fileno())
        try:
            yield
        finally:
            _set_namespace(former.fileno())


def _set_namespace(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _remove_cgroups(first: int) -> None:
    """Remove what `host.sh` made for the host of this first process; the kernel may still be at its last ones."""
    for group in Path("/sys/fs/cgroup").glob(f"*/ssh-host-{first}"):
        for folder, _, _ in os.walk(group, topdown=False):
            _until(partial(_is_removed, Path(folder)), f"{folder} is in use")


def _is_removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line + "\n")
    child.stdin.flush()


def _until(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.005)
