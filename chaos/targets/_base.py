"""What every target does alike: dispatch questions and actions; only how a command gets there differs."""

from __future__ import annotations

import logging
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from chaos.contracts import (
    Action,
    Completed,
    ControlPath,
    DcbState,
    LinkState,
    Output,
    PlantQdisc,
    Power,
    PowerState,
    Question,
    Rendered,
    SetDcb,
    Shell,
    SwitchPower,
    UprootQdisc,
)
from chaos.errors import CommandFailed, Refusal, TargetError
from chaos.kernel import Dcb, Flow, Link
from chaos.targets import _dcb_text, _tc
from chaos.targets.power import PowerController

_log = logging.getLogger("gameday.targets")


class HostTarget(ABC):
    """A host that runs sh. Subclasses say how; netlink also overrides `look`, `link`, `dcb` and `make`."""

    def __init__(self, name: str, power: PowerController | None = None) -> None:
        self.name = name
        self._power = power
        self._has_ifb: bool | None = None

    def run(self, script: str, *, check: bool = True, timeout: float = 30.0) -> Completed:
        """Run sh text as root; see `contracts.Target.run`."""
        began = time.monotonic()
        done = self._run(script, timeout)
        _log.debug("%s: %.0f ms, status %d: %s", self.name, (time.monotonic() - began) * 1e3, done.status, script)
        if check and done.status:
            raise CommandFailed(self.name, script, done.status, done.stdout, done.stderr)
        return done

    @abstractmethod
    def _run(self, script: str, timeout: float) -> Completed:
        """Run sh text as root; raises Unreachable, and nothing for an exit status."""

    @abstractmethod
    def control_path(self) -> tuple[Flow, ...]:
        """Return the flows that carry this connection, as the host sees them."""

    @abstractmethod
    def probe_control_path(self) -> None:
        """Prove that a second connection can be made."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    def ask(self, question: Question) -> Any:
        """Answer a question."""
        match question:
            case Output(script):
                return self.run(script).stdout
            case LinkState(interface):
                return self.link(interface)
            case DcbState(interface):
                return self.dcb(interface)
            case ControlPath():
                return self.control_path()
            case PowerState():
                return self._power_state()

    def ask_all(self, questions: Sequence[Question]) -> tuple[Any, ...]:
        """Answer several questions, those that are sh by one command."""
        looks = {question: look for question in questions if (look := self.look(question)) is not None}
        said = dict(zip(looks, self._outputs([script for script, _ in looks.values()]), strict=True))
        return tuple(looks[q][1](said[q]) if q in looks else self.ask(q) for q in questions)

    def look(self, question: Question) -> tuple[str, Callable[[str], Any]] | None:
        """Return the sh that answers a question and what makes the answer of its output; None where it takes more."""
        match question:
            case Output(script):
                return script, str
            case LinkState(interface):
                return _tc.link_script(interface, self._has_ifb), partial(self._link, interface)
            case DcbState(interface):
                return _dcb_text.script(interface), _dcb_text.parse
            case _:
                return None

    def perform(self, action: Action, gate: str = "") -> str:
        """Do it, and return what it said of itself; see `contracts.Target.perform`."""
        match action:
            case SwitchPower(on):
                self._need_power().switch(on)
                return ""
            case Shell(script):
                return self.run(gate + script).stdout
            case PlantQdisc() | UprootQdisc() | SetDcb():
                return self.make(action, gate)

    def render(self, action: Action) -> Rendered:
        """Return the action as sh."""
        match action:
            case Shell(script, until):
                return Rendered(script, until)
            case PlantQdisc():
                return _tc.plant(action)
            case UprootQdisc():
                return _tc.uproot(action)
            case SetDcb():
                return _dcb_text.put(action)
            case SwitchPower(on):
                return self._need_power().render(on)

    def link(self, interface: str) -> Link:
        """Read an interface through tc(8)."""
        return self._link(interface, self.run(_tc.link_script(interface, self._has_ifb)).stdout)

    def dcb(self, interface: str) -> Dcb:
        """Read an interface's data centre bridging through dcb(8)."""
        return _dcb_text.parse(self.run(_dcb_text.script(interface)).stdout)

    def make(self, action: PlantQdisc | UprootQdisc | SetDcb, gate: str = "") -> str:
        """Make a kernel object through tc(8) and ip(8), or set one through dcb(8)."""
        return self.run(gate + self.render(action).do).stdout

    def _link(self, interface: str, printed: str) -> Link:
        link = _tc.parse_link(interface, printed)
        self._has_ifb = link.has_ifb if link.exists else self._has_ifb
        return link

    def _outputs(self, scripts: Sequence[str]) -> list[str]:
        """Return the standard output of each script, all run by one command; raises CommandFailed when any fails."""
        if len(scripts) < 2:
            return [self.run(script).stdout for script in scripts]
        # nothing that is printed can have it: a list of processes shows this command, but not the two halves as one
        half, other = secrets.token_hex(8), secrets.token_hex(8)
        done = self.run("\n".join(f"(\n{script}\n) || exit\necho '{half}''{other}'" for script in scripts))
        return done.stdout.split(f"{half}{other}\n")[: len(scripts)]

    def _need_power(self) -> PowerController:
        if self._power is None:
            raise Refusal(f"{self.name}: no power controller; give the host `power:` in the inventory")
        return self._power

    def _power_state(self) -> Power:
        on = self._need_power().is_on()
        try:
            boot = self.run("cat /proc/sys/kernel/random/boot_id", timeout=5).stdout.strip() if on else ""
        except TargetError:
            boot = ""
        return Power(on, bool(boot), boot)
