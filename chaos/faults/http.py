"""http: requests to a port of the host are answered late, with an error, or by a reset connection, some or all.

A proxy of ours on the host takes the connections that are opened to the port, from outside and from the host itself,
by an nftables table of our own that redirects them (nft(8), `redirect`). Of HTTP/1 in clear text it harms the requests
that match, and passes everything else on as it comes, to the address it was meant for: bodies, streams of events,
connections that are kept. It answers to nobody who was not redirected. Two things differ for the service: its client is
the host itself, and a request takes some tenths of a millisecond more.

Connections that were there before are not met: the kernel redirects none that is established (the dose tells whether
any request came). Those that were opened under the fault end with it, and their clients open new ones. Where the proxy
ends by itself, its keeper takes the table away within about a second, and the service is reached directly.

TLS and HTTP/2 can't be read on their way: a port that completes a TLS handshake (it is asked for one) is objected to,
and what is not HTTP/1 is passed on unharmed and told by the dose. The host's connection tracking is used; where
nothing else does, the kernel begins to track.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, Need, Output, Reading, Shell
from chaos.faults import _payload, _table
from chaos.faults._nft import Rule
from chaos.faults._pattern import Pattern
from chaos.faults._peers import Port
from chaos.faults._table import Chains
from chaos.kernel import Flow
from chaos.units import Duration, Share

_MARK = 0x67616D65  # of the sockets by which the proxy goes on
_FIRST_PORT, _PORTS = 15_000, 1_000
_LOOKS = """\
listens() {{ cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$1 [0-9A-F]*:0000 0A "; }}
! listens {port:04X} || echo service listens
! listens {proxy:04X} || echo proxy taken
[ -d {folder} ] || python3 -I -S -c '{tls}' {port}
"""
_TLS = """\
import socket, ssl, sys
try:
    ssl._create_unverified_context().wrap_socket(socket.create_connection(("localhost", int(sys.argv[1])), 1))
    print("speaks TLS")
except (OSError, ValueError):
    pass
"""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@dataclass(frozen=True)
class Seen:
    """Our table and our proxy; what `Payload.look` printed beside it tells who listens."""

    table: _table.Seen
    payload: _payload.Seen


class Http(Fault[Seen]):
    """Answer HTTP requests to a port of the host late, with an error, or by a reset, all of them or some."""

    kind: ClassVar[str] = "http"
    example: ClassVar[str] = (
        "{kind: http, on: {group: workers, pick: 1}, for: 20s, port: 8000, path: ^/v1/chat, status: 503, share: 20%}"
    )
    release: ClassVar[str] = "connections opened under the fault are closed: clients connect anew"
    shade: ClassVar[str] = "#5b6ee1"
    needs: ClassVar[tuple[Need, ...]] = (_table.NFT, _payload.PYTHON)

    port: Port = Field(description="the port on which the service is reached, in clear text")
    path: Pattern = Field("^/", description="regular expression looked for in path and query; every request by default")
    methods: tuple[Method, ...] = Field((), description="only requests by these methods, like POST")
    share: Share = Field(1.0, description="of the requests that match, how many are harmed, drawn at random", gt=0)
    latency: Duration = Field(0.0, description="how long a request is held before it is passed on", ge=0, le=600)
    jitter: Duration = Field(0.0, description="how much shorter or longer, evenly distributed", ge=0, le=600)
    status: int | None = Field(None, description="answer with this status in place of the service", ge=400, le=599)
    abort: bool = Field(False, description="reset the connection in place of an answer")

    @model_validator(mode="after")
    def _harms(self) -> Self:
        if not (self.latency or self.status or self.abort):
            raise ValueError("give `latency`, `status` or `abort`: it does nothing")
        if self.status and self.abort:
            raise ValueError("abort: leaves no answer to have a `status`")
        if self.jitter > self.latency:
            raise ValueError("jitter: is longer than `latency`")
        return self

    def reading(self) -> Reading[Seen]:
        """Ask for the proxy, the table, and who listens."""
        looks = _LOOKS.format(port=self.port, proxy=self._proxy_port, folder=self.payload.folder, tls=_TLS)
        script = f"{self.payload.look(looks).script}\necho --tables\n{_table.looks(self.table)}"
        return Reading((Output(script), ControlPath()), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a port on which nobody listens or that speaks TLS, the controller's own, and to what is left."""
        said = before.payload.also
        if left := before.table.objection(self.table) or before.payload.objection(self.payload):
            return left
        if any(flow.port == self.port for flow in before.table.control):
            return f"the controller itself comes by port {self.port}"
        if "service" not in said:
            return f"nobody listens on port {self.port}; `ss -tln` on the host lists the ports there are"
        if said.get("speaks") == "TLS":
            return f"port {self.port} speaks TLS, in which no request can be told from another; name the one behind it"
        return f"port {self._proxy_port}, which the proxy needs, is in use" if "proxy" in said else None

    def apply(self, before: Seen) -> list[Action]:
        """Start the proxy and, once it is at work, redirect."""
        del before
        at_work = f"cd {self.payload.folder} && [ -s report ] && [ ! -e ended ]"
        failed = '{ echo "the proxy does not start: $(tail -n 1 log)" >&2; exit 1; }'
        return [self.payload.start(), Shell(f"{at_work} || {failed}\n{_table.made(self.table, self.chains())}")]

    def revert(self, before: Seen) -> list[Action]:
        """Let connections go where they did, then end the proxy."""
        del before
        return [_table.deletion(self.table), self.payload.stop()]

    def clash(self, other: Fault[Any]) -> str | None:
        """Tell that a connection is redirected once."""
        same = isinstance(other, Http) and other.port == self.port
        return f"another http is on port {self.port} at the same time, and a request meets one" if same else None

    def typical(self) -> Seen:
        """A service that listens, and a controller at a documentation address (RFC 5737)."""
        control = (Flow(ip_address("192.0.2.1"), 22),)
        return Seen(_table.Seen(None, (), control), _payload.Seen(also={"service": "listens"}))

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """The proxy is at work, and the kernel's rules are ours."""
        del before
        return now.payload.at_work and now.table.chains == self.chains()

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Both are gone."""
        del before
        return now.table.chains is None and now.payload.gone

    def asked(self) -> dict[str, float]:
        """The latency and the share."""
        return {"share": self.share, **({"latency_s": self.latency} if self.latency else {})}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many requests came and how many were harmed: where none was, nothing happened."""
        if not self.is_applied(before, now):
            why = now.payload.ended or f"table inet {self.table} or the proxy behind it is not ours"
            return Dose({}, False, f"it was not at work at the end: {why}")
        seen, harmed, strange = (now.payload.report[name] for name in ("seen", "harmed", "strange"))
        why = "no request matched" if seen else "no request came by a connection that was opened under the fault"
        why += f"; {strange:.0f} connections were no HTTP/1" if strange else ""
        return Dose({"requests": seen, "harmed": harmed}, harmed > 0, "" if harmed else why)

    @property
    def table(self) -> str:
        """The name of our table."""
        return _table.named(self)

    @property
    def payload(self) -> _payload.Payload:
        """The proxy."""
        action = "reset" if self.abort else str(self.status or "pass")
        harm = (repr(self.share), repr(self.latency), repr(self.jitter), action)
        made = _payload.Payload.of(
            "http", self._proxy_port, self.port, ",".join(self.methods), self.path, *harm, weight=1000
        )
        return replace(made, afterwards=_table.deletion(self.table).script)

    def chains(self) -> Chains:
        """Return the rules of each chain."""
        redirect = Rule(
            f"redirect to :{self._proxy_port}", protocols=("tcp",), port="dport", ports=(self.port,), local=True,
            opening=True,
        )  # fmt: skip
        return {"redirect_ingress": (redirect,), "redirect_egress": (Rule("accept", mark=_MARK), redirect)}

    @property
    def _proxy_port(self) -> int:
        return _FIRST_PORT + self.port % _PORTS

    def _parse(self, printed: str, control: tuple[Flow, ...]) -> Seen:
        payload, tables = re.split(r"^--tables\n", printed, maxsplit=1, flags=re.MULTILINE)
        return Seen(_table.seen(self.table, tables, control), _payload.parse(payload))
