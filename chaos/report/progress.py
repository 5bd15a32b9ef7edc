"""The live view while a run goes on: a panel on a terminal, plain lines everywhere else.

The runner calls the four methods of `Progress`; it never imports this module (it stands below), so `Snapshot` is a
protocol: any object with these attributes will do. `open_progress` chooses the view. Nothing here measures: it shows
what it is handed, when it is handed it, and rich redraws on that call and on no thread of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from chaos.report import wording
from chaos.report.sparkline import sparkline


class Snapshot(Protocol):
    """The state of a run at one moment. Times in s since the load began, `qps` one value a window, oldest first."""

    @property
    def elapsed(self) -> float:
        """Time since the load began."""

    @property
    def total(self) -> float:
        """How long the load is to go on."""

    @property
    def qps(self) -> Sequence[float]:
        """Good responses per second, window by window."""

    @property
    def error_ratio(self) -> float:
        """The share of the last window's requests that failed, 0 to 1."""

    @property
    def hosts(self) -> Mapping[str, str]:
        """Host -> the state of its fault in a word or two ("armed", "netem applied", "undone")."""

    @property
    def fault_active(self) -> bool:
        """Whether a fault is applied anywhere."""


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def phase(self, name: str, seconds: float) -> None:
        """Say that a phase began which is to last so many seconds."""

    def update(self, snapshot: Snapshot) -> None:
        """Show the state of the run."""

    def note(self, text: str) -> None:
        """Say one thing that stays on the screen."""

    def close(self) -> None:
        """Stop showing; repeatable."""


UNTOUCHED = "untouched"
"""The state of a host that nothing was done to yet; not worth a line."""


class PlainProgress:
    """One line a phase, a note, and each change of a host's state: for a pipe, a CI log, a dumb terminal."""

    def __init__(self, console: Console, experiment: str) -> None:
        self._console = console
        self._hosts: dict[str, str] = {}
        self.note(experiment)

    def phase(self, name: str, seconds: float) -> None:
        """Print the phase and its length."""
        self._detail(f"{name} ({wording.say(seconds, 's')})")

    def update(self, snapshot: Snapshot) -> None:
        """Print the hosts whose state is another than at the last call."""
        for host, state in snapshot.hosts.items():
            if self._hosts.get(host, UNTOUCHED) != state:
                self._detail(f"{wording.say_time(snapshot.elapsed)} {host}: {state}")
        self._hosts = dict(snapshot.hosts)

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(Text(wording.printable(text)), soft_wrap=True)

    def close(self) -> None:
        """Nothing is held open."""

    def _detail(self, text: str) -> None:
        self._console.print(Text("  " + wording.printable(text)), soft_wrap=True)


class LiveProgress:
    """A panel that is redrawn in place. A context manager, so that a crash leaves the terminal as it was."""

    def __init__(self, console: Console, experiment: str) -> None:
        self._title = wording.printable(experiment)
        self._phase = ("starting", 0.0)
        self._phase_began = 0.0
        self._snapshot: Snapshot | None = None
        self._live = Live(console=console, auto_refresh=False, transient=True, get_renderable=self._panel)
        self._live.start(refresh=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def phase(self, name: str, seconds: float) -> None:
        """Show the phase; its time left counts from here."""
        self._phase = (wording.printable(name), seconds)
        self._phase_began = self._snapshot.elapsed if self._snapshot else 0.0
        self._live.refresh()

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._snapshot = snapshot
        self._live.refresh()

    def note(self, text: str) -> None:
        """Print a line above the panel."""
        self._live.console.print(Text(wording.printable(text)))

    def close(self) -> None:
        """Take the panel away."""
        self._live.stop()

    def _panel(self) -> Panel:
        shown = self._snapshot
        body = [self._clock(shown), *(self._state(shown) if shown else ()), _way_out(shown)]
        return Panel(Group(*body), title=Text(self._title), title_align="left", expand=True)

    def _clock(self, shown: Snapshot | None) -> Text:
        name, seconds = self._phase
        elapsed = shown.elapsed if shown else 0.0
        left = max(0.0, self._phase_began + seconds - elapsed)
        text = Text(name, style="bold").append(f"  {left:.0f} s left in this phase", style="not bold")
        return text.append(f" · {max(0.0, shown.total - elapsed):.0f} s in all", style="not bold") if shown else text

    def _state(self, shown: Snapshot) -> tuple[Text, Table]:
        width = max(8, self._live.console.width - 4)
        bars = sparkline(list(shown.qps)[-width:], width)
        last = wording.say(shown.qps[-1] if shown.qps else None, "1/s")
        text = Text(f"{bars}\nQPS {last} · errors {wording.say(shown.error_ratio, '1')}")
        return text, _hosts(shown.hosts)


def open_progress(console: Console, experiment: str) -> Progress:
    """Return the live panel on a terminal that can move its cursor, plain lines elsewhere. The caller closes it."""
    live = console.is_terminal and not console.is_dumb_terminal
    return LiveProgress(console, experiment) if live else PlainProgress(console, experiment)


def _hosts(hosts: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for host, state in hosts.items():
        grid.add_row(Text(wording.printable(host), style="bold"), Text(wording.printable(state)))
    return grid


def _way_out(shown: Snapshot | None) -> Text:
    if shown and shown.fault_active:
        return Text("Ctrl-C undoes every fault, reads each undo back, and ends the run as unknown", style="yellow")
    calm = "; no fault is active" if shown and shown.hosts else ""
    return Text(f"Ctrl-C ends the run as unknown{calm}", style="dim")
