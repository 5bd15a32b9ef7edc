"""What a lab is to be: its hosts, their addresses, what runs on each. Plain values, agreed before anything starts.

`chaos.lab.api` makes a `Layout` and hands it to the keeper as JSON; the keeper makes it so. Addresses are those of the
data network, 10.77.0.0/24 and fd77::/64; no host of it can reach, or be reached from, any other network.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["vm", "netns"]
Workload = Mapping[str, Sequence[str]]
"""The command of each host; a host that is not named in it runs nothing. `LISTEN` in it is put in by the keeper."""

LISTEN = "{listen}"
"""Stands in a command for where the host's service is to listen: HOST:PORT, or fd:N for a socket handed down."""
SERVICE_PORT = 8000
GATEWAY = "gateway"
MAX_WORKERS = 200


@dataclass(frozen=True)
class HostLayout:
    """One host: its name, the last number of its addresses, and the command that runs on it (nothing when empty)."""

    name: str
    number: int
    command: tuple[str, ...]

    @property
    def address(self) -> str:
        """Its IPv4 address on the data network."""
        return f"10.77.0.{self.number}"

    @property
    def address6(self) -> str:
        """Its IPv6 address on the data network."""
        return f"fd77::{self.number}"

    @property
    def mac(self) -> str:
        """Its Ethernet address on the data network, a locally administered one."""
        return f"02:67:64:00:00:{self.number:02x}"

    def script(self, listen: str) -> str:
        """Return a sh script that becomes the host's command, in which Python finds this project and its packages."""
        command = [word.replace(LISTEN, listen) for word in self.command]
        return f"export PYTHONPATH={shlex.quote(_CODE)}\nexec {shlex.join(command)}\n" if command else ""


@dataclass(frozen=True)
class Layout:
    """A lab: `why` says why it is of this kind, `owner` is the process it ends with, `image` what a vm boots from.

    `serve_within` is how long (s) the gateway may take from the hosts being ready until it answers /healthz.
    """

    kind: Kind
    why: str
    hosts: tuple[HostLayout, ...]
    owner: int | None = None
    image: str = ""
    serve_within: float = 90.0

    @property
    def gateway(self) -> HostLayout:
        """The host that serves to the outside."""
        return self.hosts[0]

    @property
    def workers(self) -> tuple[HostLayout, ...]:
        """Every other host."""
        return self.hosts[1:]

    def to_json(self) -> str:
        """Return it as JSON, for the keeper."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """Return what `to_json` wrote."""
        fields = json.loads(text)
        hosts = (HostLayout(h["name"], h["number"], tuple(h["command"])) for h in fields.pop("hosts"))
        return cls(hosts=tuple(hosts), **fields)


def lay_out(workers: int, workload: Workload) -> tuple[HostLayout, ...]:
    """Return a gateway (number 1) and `workers` workers (numbers 11, 12, ...), with what runs on each."""
    numbers = {GATEWAY: 1} | {f"worker-{n}": 10 + n for n in range(1, workers + 1)}
    return tuple(HostLayout(name, number, tuple(workload.get(name, ()))) for name, number in numbers.items())


def appliance(workers: int) -> dict[str, list[str]]:
    """Return the workload of the reference appliance: a gateway before its workers, each restarted when it dies.

    Steps are long and a model takes a while to load, as on a real accelerator; on an emulated host each step costs
    milliseconds of real CPU besides. One slow health check is no failure on a machine that others share.
    """
    module = [
        sys.executable,
        "-S",
        "-m",
        "chaos.lab.appliance",
    ]  # -S: what `site` does costs emulated time, twice a host
    start = [*module, "supervise", "--", *module]
    hosts = lay_out(workers, {})[1:]
    upstream = [word for h in hosts for word in ("--worker", f"{h.name}=http://{h.address}:{SERVICE_PORT}")]
    engine = ["--startup", "3", "--step-base", "0.02"]
    commands = {h.name: [*start, "worker", "--name", h.name, "--listen", LISTEN, *engine] for h in hosts}
    return {GATEWAY: [*start, "gateway", "--listen", LISTEN, "--health-fall", "2", *upstream]} | commands


def hosts_file(layout: Layout) -> str:
    """Return the /etc/hosts by which the hosts know each other."""
    lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{h.address} {h.name}" for h in layout.hosts)]
    return "\n".join(lines) + "\n"


_CODE = os.pathsep.join((str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
