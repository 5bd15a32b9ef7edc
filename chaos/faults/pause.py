"""pause: Ethernet's own flow control (IEEE 802.3x, the whole link) misconfigured: on where it must be off, or off.

What `ethtool --pause` sets: whether pause frames are obeyed (rx), sent (tx), and agreed on with the other end
(autoneg). Off on a link that relied on it, bursts are lost; on where a fabric uses priority flow control, one slow
receiver stops every class. Where autoneg is on, rx and tx are what the link offers, and the other end has a say.

Objected to: an interface without pause parameters (most virtual ones), and one that is so already. Its settings bear no
mark of ours: with ledger and fuse lost, nobody can know what they were. A reboot undoes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, HostView, Need, Output, Reading, Shell
from chaos.names import InterfaceName

Parameters = Mapping[str, str]
"""autoneg, rx and tx, each `on` or `off`; empty where there are none."""

# the first three lines that `ethtool -a` prints are set, those that follow were negotiated
_SHOWN = "ethtool -a {device} | sed -n 's/^Autonegotiate:/autoneg/p; s/^RX:/rx/p; s/^TX:/tx/p'"
_READ = "[ -e /sys/class/net/{device} ] || echo absent\n{{ {shown}; }} 2>/dev/null"


class Pause(Fault[Parameters]):
    """Turn an interface's Ethernet pause frames on or off, for a while."""

    kind: ClassVar[str] = "pause"
    example: ClassVar[str] = (
        "{kind: pause, on: {group: workers, pick: 1}, for: 20s, interface: eth1, autoneg: false, rx: false, tx: false}"
    )
    release: ClassVar[str] = (
        "many drivers take the link down and up to set it (1 to 5 s), when it begins and when it ends; "
        "TCP backs off meanwhile"
    )
    shade: ClassVar[str] = "#7f6a93"
    needs: ClassVar[tuple[Need, ...]] = (Need("ethtool", "command -v ethtool", "ethtool"),)
    settle: ClassVar[float] = 20.0

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")
    autoneg: bool | None = Field(None, description="whether it is agreed on with the other end")
    rx: bool | None = Field(None, description="whether pause frames that come are obeyed")
    tx: bool | None = Field(None, description="whether pause frames are sent")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.wanted:
            raise ValueError("does nothing; give at least one of autoneg, rx, tx")
        return self

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Parameters]:
        """Ask for the parameters; the control path is proved after applying."""
        device = quote(self.interface)
        script = _READ.format(device=device, shown=_SHOWN.format(device=device))
        return Reading((Output(script), ControlPath()), lambda printed, _: _parse(printed))

    def objection(self, before: Parameters) -> str | None:
        """Object to an interface that is not there, that knows no pause, or that is so already."""
        if not self.interface:
            return "no interface: name one in the fault (`interface: eth1`) or in the inventory"
        if "absent" in before:
            return f"there is no interface {self.interface}; `ip link` on the host lists those there are"
        if not before:
            return f"{self.interface} has no pause parameters; `ethtool -a {self.interface}` says why"
        said = ", ".join(f"{name} {value}" for name, value in before.items())
        return f"the pause of {self.interface} is so already ({said})" if self.is_applied(before, before) else None

    def apply(self, before: Parameters) -> list[Action]:
        """Set what is not so; ethtool takes it for an error to be asked for what is."""
        return [Shell(self._set({name: value for name, value in self.wanted.items() if before[name] != value}))]

    def revert(self, before: Parameters) -> list[Action]:
        """Set what it was, unless it is."""
        there = self._reads(before)
        return [Shell(f"{there} || {self._set(before)}", until=there)]

    def is_applied(self, before: Parameters, now: Parameters) -> bool:
        """Each reads as asked."""
        del before
        return {**now, **self.wanted} == now

    def is_reverted(self, before: Parameters, now: Parameters) -> bool:
        """All read as they did."""
        return now == before

    def typical(self) -> Parameters:
        """The other of each."""
        return {name: {"on": "off", "off": "on"}.get(self.wanted.get(name, ""), "on") for name in _NAMES}

    def asked(self) -> dict[str, float]:
        """Each, 1 for on."""
        return _figures(self.wanted)

    def dose(self, before: Parameters, now: Parameters) -> Dose:
        """Read them once more at the end of the fault: a daemon may keep its own settings."""
        held = self.is_applied(before, now)
        said = ", ".join(f"{name} {value}" for name, value in now.items())
        return Dose(_figures(now), held, "" if held else f"the pause of {self.interface} was {said} at the end")

    @property
    def wanted(self) -> dict[str, str]:
        """What is to be set."""
        given = {name: getattr(self, name) for name in _NAMES}
        return {name: "on" if value else "off" for name, value in given.items() if value is not None}

    def _set(self, parameters: Parameters) -> str:
        words = " ".join(f"{name} {value}" for name, value in parameters.items())
        return f"ethtool -A {quote(self.interface)} {words}"

    def _reads(self, parameters: Parameters) -> str:
        shown = _SHOWN.format(device=quote(self.interface))
        words = " ".join(f"{name} {value}" for name, value in parameters.items())
        return f'[ "$(echo $({shown}))" = {quote(words)} ]'


_NAMES = ("autoneg", "rx", "tx")


def _parse(printed: str) -> Parameters:
    """Return what `_READ` printed; an interface that is not there is `absent`."""
    return {words[0]: words[-1] for words in map(str.split, printed.splitlines()) if words}


def _figures(parameters: Parameters) -> dict[str, float]:
    return {name: float(value == "on") for name, value in parameters.items() if name in _NAMES}
