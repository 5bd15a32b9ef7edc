"""A switch that runs SONiC: PFC and its watchdog on a port, by `config`, `show` and `pfcwd` (SONiC's CLI reference).

What is set is in force and in the running configuration, and no `config save` makes it last.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import Any

from chaos.contracts import Action, Output, Question, Shell
from chaos.faults._dcb import OFF, Driver
from chaos.kernel import Dcb, Ets, Pfc

_WORDS = 3  # action, detection time, restoration time; a later release has the history as a fourth


class Sonic(Driver):
    """Each command sets one priority of one port."""

    title = "show pfc priority"

    def question(self, interface: str) -> Question:
        """Print both tables of one port."""
        port = quote(interface)
        return Output(f"show pfc priority {port} 2>&1\necho --watchdog; pfcwd show config {port} 2>&1\ntrue")

    def seen(self, interface: str, said: Any) -> Dcb:
        """Return the first table; a port whose map of QoS names no priorities shows N/A."""
        shown = said.partition("--watchdog\n")[0]
        row = re.search(rf"^{re.escape(interface)}[ \t]*([0-7,]*)[ \t]*$", shown, re.MULTILINE)
        if row is None:
            return Dcb(why_not=shown.strip()[-200:])
        return Dcb(Pfc(frozenset(int(number) for number in row[1].split(",") if number)))

    def put(self, interface: str, wanted: Pfc | Ets, instead_of: Pfc | Ets) -> Action:
        """Set those that differ; one that is so already is told, and is no failure."""
        assert isinstance(wanted, Pfc) and isinstance(instead_of, Pfc)
        port = quote(interface)
        lines = [
            f"config interface pfc priority {port} {number} {'on' if number in wanted.priorities else 'off'}"
            for number in sorted(wanted.priorities ^ instead_of.priorities)
        ]
        row = rf"sed -n 's/^{interface} *\([0-7,]*\) *$/=\1/p'"  # a row that is there and empty is none that is not
        shown = "=" + ",".join(map(str, sorted(wanted.priorities)))
        until = f'[ "$(show pfc priority {port} | {row})" = {quote(shown)} ]'
        return Shell(" &&\n".join(lines), until=until)

    def watchdog(self, interface: str, said: Any, tunable: str) -> str:
        """Return the second table: action, detection and restoration time in ms, and whether it keeps a history."""
        del tunable
        shown = said.partition("--watchdog\n")[2]
        row = re.search(rf"^\s*{re.escape(interface)}\s+(\S.*?)\s*$", shown, re.MULTILINE)
        if row is not None:
            return " ".join(row[1].split())
        return OFF if "DETECTION TIME" in shown else ""

    def put_watchdog(self, interface: str, setting: str) -> Action:
        """Stop it on one port, or start it there as it was."""
        port = quote(interface)
        words = setting.split()
        if setting == OFF:
            do, setting = f"pfcwd stop {port}", ""
        else:
            action, detection, restoration = words[:_WORDS]
            history = " --pfc-stat-history" if words[_WORDS:] == ["enable"] else ""
            do = f"pfcwd start --action {action} --restoration-time {restoration}{history} {port} {detection}"
        row = f"echo $(pfcwd show config {port} | sed -n 's/^ *{interface} //p')"
        return Shell(do, until=f'[ "$({row})" = {quote(setting)} ]')
