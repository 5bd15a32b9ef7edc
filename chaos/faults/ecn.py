"""ecn: congestion marking misconfigured (RFC 3168): switches mark, and nobody listens; or the other way round.

For TCP it is net.ipv4.tcp_ecn: `off` neither asks for ECN nor agrees to it, `passive` (the kernel's default) agrees
where the other end asks, `on` asks. A connection keeps what it agreed on when it began; so only new ones are met.

For RoCE of NVIDIA's hardware they are files of its own driver (MLNX_OFED, DOCA) below /sys/class/net/IF/ecn, for each
priority: `notification` is the receiving end, which answers a marked packet by a congestion notification (roce_np),
`reaction` the sending end, which slows down when it is told (roce_rp). With either off, senders fill the queues until
the switch pauses them or drops. The kernel's own mlx5 has no such files, and is refused. These were tried against files
of that layout, not against the hardware; TCP's against a real kernel.

Whether a switch marks is the switch's affair; a host's own qdiscs (red, fq_codel) are left alone. A setting bears no
mark of ours: with ledger and fuse lost, nobody can know of it. A reboot undoes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, Dose, Fault, HostView, Output, Reading, Shell
from chaos.names import InterfaceName

Files = Mapping[str, str]
"""Each file with what it holds; nothing where there is none."""

_TCP = "/proc/sys/net/ipv4/tcp_ecn"
_MODES = {"off": "0", "on": "1", "passive": "2"}
_PRIORITIES = tuple(range(8))
_READ = """for file in {files}; do
    if [ -e "$file" ]; then echo "$file $(cat "$file")"; else echo "$file "; fi
done"""


class Ecn(Fault[Files]):
    """Turn explicit congestion notification on or off, of TCP or of RoCE, for a while."""

    kind: ClassVar[str] = "ecn"
    example: ClassVar[str] = "{kind: ecn, on: {group: workers, pick: 1}, for: 20s, tcp: off}"
    release: ClassVar[str] = "none of its own: TCP connections keep what they agreed on when they began"
    shade: ClassVar[str] = "#5b7f95"

    tcp: Literal["off", "on", "passive"] | None = Field(None, description="of new TCP connections; `on` asks for it")
    notification: bool | None = Field(None, description="RoCE: whether a receiver tells the sender of marked packets")
    reaction: bool | None = Field(None, description="RoCE: whether a sender slows down when it is told")
    priorities: tuple[Annotated[int, Field(ge=0, le=7)], ...] = Field(
        _PRIORITIES, description="RoCE: of these priorities alone; all by default", min_length=1
    )
    interface: InterfaceName = Field("", description="RoCE: the interface; the inventory's `interface` by default")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.tcp is None and self.notification is None and self.reaction is None:
            raise ValueError("does nothing; give at least one of tcp, notification, reaction")
        return self

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Files]:
        """Ask for each file."""
        return Reading((Output(_READ.format(files=" ".join(map(quote, self.wanted)))),), _parse)

    def objection(self, before: Files) -> str | None:
        """Object where RoCE has no such files, and where nothing would change."""
        if (self.notification, self.reaction) != (None, None) and not self.interface:
            return "no interface: name one in the fault (`interface: eth1`) or in the inventory"
        missing = [file for file, held in before.items() if not held]
        if missing:
            return f"there is no {missing[0]}: RoCE's are of NVIDIA's own driver (MLNX_OFED), whose NIC this must be"
        already = ", ".join(f"{file} is {held}" for file, held in before.items())
        return f"it is as asked already: {already}" if self.is_applied(before, before) else None

    def apply(self, before: Files) -> list[Action]:
        """Write each; what the kernel refuses ends it."""
        del before
        return [Shell(" &&\n".join(_put(file, value) for file, value in self.wanted.items()))]

    def revert(self, before: Files) -> list[Action]:
        """Write back what was read, each whatever becomes of the others."""
        puts = "\n".join(f"{_put(file, value)} || failed=1" for file, value in before.items())
        until = " &&\n".join(f'[ "$(cat {quote(file)})" = {quote(value)} ]' for file, value in before.items())
        return [Shell(f'failed=\n{puts}\n[ -z "$failed" ]', until=until)]

    def is_applied(self, before: Files, now: Files) -> bool:
        """Each holds what was asked."""
        del before
        return dict(now) == self.wanted

    def is_reverted(self, before: Files, now: Files) -> bool:
        """Each holds what it did."""
        return now == before

    def typical(self) -> Files:
        """The other of each."""
        return {file: {"0": "1", "1": "0", "2": "1"}[value] for file, value in self.wanted.items()}

    def asked(self) -> dict[str, float]:
        """All of them."""
        return {"set": 1.0}

    def dose(self, before: Files, now: Files) -> Dose:
        """Return the share that still holds what was asked: a daemon may keep its own settings."""
        del before
        lost = [file for file, value in self.wanted.items() if now[file] != value]
        held = 1 - len(lost) / len(self.wanted)
        return Dose({"set": held}, not lost, f"no longer as asked: {', '.join(lost)}" if lost else "")

    @property
    def wanted(self) -> dict[str, str]:
        """Each file with what it is to hold."""
        tcp = {_TCP: _MODES[self.tcp]} if self.tcp else {}
        return tcp | {
            f"/sys/class/net/{self.interface}/ecn/{point}/enable/{priority}": str(int(on))
            for point, on in (("roce_np", self.notification), ("roce_rp", self.reaction))
            if on is not None
            for priority in sorted(set(self.priorities))
        }


def _put(file: str, value: str) -> str:
    return f"echo {value} >{quote(file)}"


def _parse(printed: str) -> Files:
    return {file: held for file, _, held in (line.partition(" ") for line in printed.splitlines())}
