"""Clients that trouble a service by their connections: a payload on a host of theirs, towards one URL and nobody else.

`{name}` in the URL stands for the numeric address by which its peers know a host of the inventory, or the first of a
group (the load's own stands for what the controller reaches it by, which may be a forwarded port). Any other name is
looked up on the host, once. How many connections are open is read from the kernel (proc(5), /proc/net/tcp) and not from
what the payload says. A host has so many files and ports; more than those is objected to before anything is touched.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, StringConstraints

from chaos.contracts import HostView
from chaos.errors import Misfit
from chaos.faults import _payload
from chaos.faults._payload import Seen
from probes.errors import PlanError
from probes.url import Url

MOST = 20_000
"""The most connections that one payload has open."""
_BESIDES = 100  # files that the process has open beside its sockets, at most
_SOCKET = 16  # KiB of kernel memory for an open connection with its buffers, at least
_PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")
_SSH = 22


def _checked(value: str) -> str:
    """Check a URL with each placeholder filled by its own name."""
    filled = _PLACEHOLDER.sub(r"\1", value)
    if "{" in filled or "}" in filled:
        raise ValueError(f"{value!r} has a stray brace; {{name}} stands for a host or a group of the inventory")
    try:
        url = Url.parse(filled)
    except PlanError as error:
        raise ValueError(str(error).removeprefix("url: ")) from error
    if url.tls:
        raise ValueError(f"{value!r}: only http, in the clear; find a listener that ends no TLS")
    if url.port == _SSH:
        raise ValueError(f"{value!r}: port 22 is that of sshd, by which everything is undone")
    return value


Template = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_checked)]


class ClientFault(_payload.PayloadFault):
    """What a payload of connections does. Subclasses say how many there are at most (`most`), and judge the dose."""

    beside: ClassVar[str] = (
        'most=$(cat /proc/sys/fs/nr_open); (ulimit -n "$most") 2>/dev/null || most=$(ulimit -Hn); echo "files $most"\n'
        'set -- $(cat /proc/sys/net/ipv4/ip_local_port_range); echo "ports $(($2 - $1 + 1))"\n'
        "echo \"available $(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)\"\n"
        '{ for pid in $(found); do ls -l "/proc/$pid/fd" 2>/dev/null; done; echo; '
        "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null; } | awk '"
        "match($0, /socket:\\[[0-9]+\\]/) { ours[substr($0, RSTART + 8, RLENGTH - 9)]; next } "
        '$4 == "01" && $10 in ours { open++ } END { print "open", open + 0 }\'\n'
    )

    url: Template = Field(description="whom they connect to, like http://{gateway}:80/; in the clear")

    @property
    @abstractmethod
    def most(self) -> int:
        """How many connections are open at most."""

    def bind(self, host: HostView) -> Self:
        """Fill the hosts' addresses in. Raises Misfit for a name that nobody has, or that has no address."""
        return self.model_copy(update={"url": _PLACEHOLDER.sub(lambda found: _address(found[1], host), self.url)})

    def objection(self, before: Seen) -> str | None:
        """Object to more connections than the host has files, ports or memory for."""
        files, ports, available = (before.also[name] for name in ("files", "ports", "available"))
        if files.isdecimal() and self.most + _BESIDES > int(files):
            return f"a process may have {files} files open (ulimit -Hn); {self.most} connections are more"
        if self.most > int(ports):
            return f"the host has {ports} ephemeral ports, and {self.most} connections to one server need as many"
        if int(available or 0) < 4 * _SOCKET * self.most:
            need = _SOCKET * self.most // 1024
            return f"{self.most} connections take {need} MiB of memory, and only {int(available or 0) // 1024} are free"
        return super().objection(before)

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """It is at work, and the kernel has a connection of it open."""
        return super().is_applied(before, now) and int(now.also["open"]) > 0

    def typical(self) -> Seen:
        """No payload, and enough of everything."""
        return Seen(also={"files": "1048576", "ports": "28232", "available": "8000000", "open": "0"})

    def of(self, *arguments: object) -> _payload.Payload:
        """Return the payload of the kind: host, port, authority and target of the URL, then its own arguments."""
        url = Url.parse(self.url)
        return _payload.Payload.of(self.kind, url.host, url.port, url.authority, url.target, *arguments)


def _address(name: str, host: HostView) -> str:
    """Return a host's address as it stands in a URL (RFC 3986, 3.2.2)."""
    if name not in host.peers:
        raise Misfit(("url",), f"{{{name}}} is no host or group of the inventory ({', '.join(host.peers)})")
    first, addresses = next(iter(host.peers[name].items()))
    if not addresses:
        text = f"the inventory has no numeric address of {first} off loopback; give it `addresses: [...]`"
        raise Misfit(("url",), text)
    return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
