"""dns_answer: the name servers of a host answer some names late, with an error, or with a wrong address.

A process of ours on the host stands in for each name server of its resolv.conf, at a port of loopback. An nftables
table of our own (`chaos.faults._table`) rewrites what leaves for port 53 of such a server, and writes the server back
into the answers; both packet by packet and without connection tracking, so that nothing of it lasts longer than the
table. What is not to be met is asked of the real server and answered as it answers. Where resolv.conf names
systemd-resolved (127.0.0.53), its own servers are stood in for as well, and asked directly.

Wrong answers have a TTL of 0, so that no cache keeps them. A cache keeps what it knows: systemd-resolved goes on
telling it to whoever asks by D-Bus; nscd too. A name server that is not in resolv.conf, or is asked over TLS, is not
stood in for.

Where the process ends without its fuse, the table goes with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from shlex import quote
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _payload, _table
from chaos.faults._nft import Rule
from chaos.faults._table import Chains
from chaos.kernel import Flow
from chaos.units import Duration

_FIRST_PORT = 5390
_MOST = 8  # name servers
_MARK = 0x67616D65  # of the sockets by which the real servers are asked
_LOOPBACK = {4: ("ip", "127.0.0.1"), 6: ("ip6", "::1")}
_STUBS = {"127.0.0.53", "127.0.0.54"}
_LOOKS = """echo --configured; cat /etc/resolv.conf 2>/dev/null
echo --resolved; cat /run/systemd/resolve/resolv.conf 2>/dev/null
echo --tables"""
_PARTS = ("payload", "configured", "resolved", "tables")
_SPLIT = re.compile(r"^--(?:configured|resolved|tables)\n", re.MULTILINE)

Name = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$",
        max_length=253,
        to_lower=True,
    ),
]


@dataclass(frozen=True)
class Seen:
    """Our table, our payload, and the name servers: each with the one to ask in its stead."""

    table: _table.Seen
    payload: _payload.Seen
    servers: tuple[tuple[str, str], ...]


class DnsAnswer(Fault[Seen]):
    """Have a host's name servers answer some names late, with an error or a wrong address."""

    kind: ClassVar[str] = "dns_answer"
    example: ClassVar[str] = (
        "{kind: dns_answer, on: {group: workers, pick: 1}, for: 20s, action: nxdomain, names: [model-store.example]}"
    )
    release: ClassVar[str] = "none but for a lookup that is under way, which is lost and tried again"
    shade: ClassVar[str] = "#357b77"
    needs: ClassVar[tuple[Need, ...]] = (_table.NFT, _payload.PYTHON)

    action: Literal["delay", "refused", "servfail", "nxdomain", "address"] = Field(
        description="answer late, with an error (RFC 1035, RCODE), or with `addresses`"
    )
    names: tuple[Name, ...] = Field(
        (), description="whose answers, with the names below them; of every name by default"
    )
    delay: Duration = Field(0.0, description="how late", ge=0, le=60)
    addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        (), description="the answer; a family that is not there is answered with none"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.action == "delay") != (self.delay > 0):
            raise ValueError("delay: goes with `action: delay`, and the action with it")
        if (self.action == "address") != bool(self.addresses):
            raise ValueError("addresses: go with `action: address`, and the action with them")
        return self

    def reading(self) -> Reading[Seen]:
        """Ask for the name servers, the payload and the table."""
        script = f"{self.payload.look().script}\n{_LOOKS}\n{_table.looks(self.table)}"
        return Reading((Output(script), ControlPath()), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a host without name servers, or with many, and to what is left of ours."""
        if not 0 < len(before.servers) <= _MOST:
            return f"/etc/resolv.conf on the host names {len(before.servers)} name servers; it takes 1 to {_MOST}"
        return before.table.objection(self.table) or before.payload.objection(self.payload)

    def apply(self, before: Seen) -> list[Action]:
        """Start to serve, then rewrite."""
        servers = "".join(
            f"{_FIRST_PORT + index} {server} {forward}\n" for index, (server, forward) in enumerate(before.servers)
        )
        folder = self.payload.folder
        placed = f"umask 077; mkdir -p {folder} && printf %s {quote(servers)} >{folder}/servers"
        return [Shell(placed), self.payload.start(), Shell(_table.made(self.table, self.chains(before)))]

    def revert(self, before: Seen) -> list[Action]:
        """Let the packets go where they did, then end the process."""
        del before
        return [_table.deletion(self.table), self.payload.stop()]

    def typical(self) -> Seen:
        """A host with one name server, at a documentation address (RFC 5737)."""
        control = (Flow(ip_address("192.0.2.1"), 22),)
        return Seen(_table.Seen(None, (), control), _payload.Seen(), (("192.0.2.53", "192.0.2.53"),))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The process is at work, and the kernel's rules are ours."""
        return now.payload.at_work and now.table.chains == self.chains(before)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Both are gone."""
        del before
        return now.table.chains is None and now.payload.gone

    def asked(self) -> dict[str, float]:
        """The delay, or all of the questions."""
        return {"delay_s": self.delay} if self.delay else {"met": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many questions came and how many were met: where none was, nothing happened."""
        if not self.is_applied(before, now):
            why = now.payload.ended or f"table inet {self.table} or the process behind it is not ours"
            return Dose({}, False, f"it was not at work at the end: {why}")
        met = now.payload.report["met"]
        achieved = {"questions": now.payload.report["asked"], "met": met}
        return Dose(achieved, met > 0, "" if met else "nobody asked for these names, so nothing was answered")

    @property
    def table(self) -> str:
        """The name of our table."""
        return _table.named(self)

    @property
    def payload(self) -> _payload.Payload:
        """Who answers."""
        addresses = ",".join(map(str, self.addresses))
        made = _payload.Payload.of("dns_answer", self.action, repr(self.delay), ",".join(self.names), addresses)
        return replace(made, afterwards=_table.deletion(self.table).script)

    def chains(self, before: Seen) -> Chains:
        """Return the rules of each chain."""
        spared = [Rule("accept", mark=_MARK), *_table.spared("egress", before.table.control, loopback=False)]
        there, back = list(spared), list(_table.spared("ingress", before.table.control, loopback=False))
        for index, (server, _) in enumerate(before.servers):
            network, port = ip_network(server), _FIRST_PORT + index
            ip, here = _LOOPBACK[network.version]
            for protocol in ("udp", "tcp"):
                to = ((f"{ip} daddr", here), (f"{protocol} dport", str(port)))
                of = ((f"{ip} saddr", server), (f"{protocol} sport", "53"))
                there.append(
                    Rule("accept", address="daddr", networks=(network,), protocols=(protocol,), port="dport",
                         ports=(53,), sets=to)
                )  # fmt: skip
                back.append(
                    Rule("accept", interface=("iifname", "lo"), address="saddr", networks=(ip_network(here),),
                         protocols=(protocol,), port="sport", ports=(port,), sets=of)
                )  # fmt: skip
        return {"rewrite": tuple(there), "back": tuple(back)}

    def _parse(self, printed: str, control: tuple[Flow, ...]) -> Seen:
        parts = dict(zip(_PARTS, _SPLIT.split(printed), strict=True))
        servers = _servers(parts["configured"], parts["resolved"])
        return Seen(_table.seen(self.table, parts["tables"], control), _payload.parse(parts["payload"]), servers)


def _servers(configured: str, resolved: str) -> tuple[tuple[str, str], ...]:
    """Return the name servers, each with the one to ask in its stead."""
    named, upstream = _named(configured), _named(resolved)
    if not upstream or not _STUBS & set(named):
        return tuple((server, server) for server in named)
    return tuple((server, upstream[0] if server in _STUBS else server) for server in dict.fromkeys(named + upstream))


def _named(text: str) -> list[str]:
    """Return the name servers of a resolv.conf(5); one of a link alone (fe80::1%eth0) is left out."""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and "%" not in line[1]]
    return [str(ip_address(server)) for server in dict.fromkeys(found)]
