"""The same commands on the same hosts, sent by others: asyncssh, and Ansible.

Either keeps the order of one host's commands, and does not wait for other hosts with any of them: that is more freedom
than a fleet takes, which arms all before it touches one. Both check host keys as we do.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncssh
import yaml

from scripts.benchmarks.commands import Command, Host
from scripts.benchmarks.processes import BenchError

_AT_ONCE = 32  # hosts; more keep two cores so busy that some fuse is not armed within its 3 s
_MODULES = {"raw": "ansible.builtin.raw", "shell": "ansible.builtin.shell"}


def over_asyncssh(hosts: Sequence[Host]) -> float:
    """Return the seconds that asyncssh takes, over a connection a host. Raises BenchError."""
    began = time.monotonic()
    asyncio.run(_all(hosts))
    return time.monotonic() - began


async def _all(hosts: Sequence[Host]) -> None:
    known = asyncssh.read_known_hosts(str(hosts[0].address.known_hosts))
    keys = [asyncssh.read_private_key(str(hosts[0].address.identity_file))]
    turn = asyncio.Semaphore(_AT_ONCE)
    await asyncio.gather(*(_one(turn, host, known, keys) for host in hosts))


async def _one(turn: asyncio.Semaphore, host: Host, known: asyncssh.SSHKnownHosts, keys: list[asyncssh.SSHKey]) -> None:
    def connect() -> asyncssh.misc._ACMWrapper[asyncssh.SSHClientConnection]:
        to = host.address
        return asyncssh.connect(
            to.address, to.port or 22, username=to.user, client_keys=keys, known_hosts=known, config=[], agent_path=None
        )

    async with turn, connect() as first:
        for command in host.commands:
            if command.second:
                async with connect() as second:
                    await _run(host, second, command)
            else:
                await _run(host, first, command)


async def _run(host: Host, connection: asyncssh.SSHClientConnection, command: Command) -> None:
    done = await connection.run(command.line)
    if done.exit_status:
        raise BenchError(f"{host.name}: status {done.exit_status}, {done.stderr!r:.200}: {command.line[-200:]}")


def over_ansible(hosts: Sequence[Host], enter: Sequence[str], module: str, strategy: str, forks: int) -> float:
    """Return the seconds that one ansible-playbook takes, started by the command `enter`. Raises BenchError.

    `module` is raw (the command line as it is, nothing else on the host) or shell (a Python module through a pipe).
    """
    with TemporaryDirectory(prefix="gameday-ansible-") as name:
        folder = Path(name)
        _write_playbook(folder, hosts, module, strategy)
        # in a PID namespace of its own: the connections that ssh keeps for later end with it
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"]
        playbook = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yaml", "playbook.yaml"]
        began = time.monotonic()
        done = subprocess.run(
            [*enter, *alone, *playbook, "--forks", str(forks)],
            cwd=folder, env=_environment(folder), check=False, capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        seconds = time.monotonic() - began
    if done.returncode:
        raise BenchError(f"ansible-playbook: status {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}")
    return seconds


def _write_playbook(folder: Path, hosts: Sequence[Host], module: str, strategy: str) -> None:
    longest = max(hosts, key=lambda host: len(host.commands)).commands
    tasks = [_task(module, index, command) for index, command in enumerate(longest)]
    play = {"hosts": "all", "gather_facts": False, "strategy": strategy, "tasks": tasks}
    (folder / "playbook.yaml").write_text(json.dumps([play]))
    entries = {host.name: _variables(host) for host in hosts}
    (folder / "inventory.yaml").write_text(yaml.dump({"all": {"hosts": entries}}, Dumper=_Dumper))


def _task(module: str, index: int, command: Command) -> dict[str, object]:
    task: dict[str, object] = {
        _MODULES[module]: f"{{{{ commands[{index}] }}}}",
        "when": f"commands | length > {index}",
        "changed_when": False,
    }
    return task | ({"vars": {"ansible_ssh_extra_args": "-o ControlPath=none"}} if command.second else {})


def _variables(host: Host) -> dict[str, object]:
    to = host.address
    return {
        "ansible_host": to.address,
        "ansible_user": to.user,
        "ansible_ssh_private_key_file": to.identity_file,
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={to.known_hosts}",
        "ansible_python_interpreter": sys.executable,
        "commands": [_Unsafe(command.line) for command in host.commands],
    }


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.minimal",
        "ANSIBLE_DISPLAY_OK_HOSTS": "False",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "False",
        "ANSIBLE_NOCOLOR": "1",
    }


class _Unsafe(str):
    """Text that Ansible must not take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'))
