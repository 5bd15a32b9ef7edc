from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from chaos.report.progress import LiveProgress, PlainProgress, open_progress


@dataclass
class State:
    elapsed: float = 12.0
    total: float = 75.0
    qps: Sequence[float] = (200.0, 200.0, 100.0)
    error_ratio: float = 0.02
    hosts: Mapping[str, str] = field(default_factory=dict)
    fault_active: bool = False


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    made = Console(file=file, width=80, height=24, force_terminal=terminal, color_system=None, _environ={})
    return made, file


def test_a_pipe_gets_a_line_a_phase_and_a_line_a_change() -> None:
    to, file = console(terminal=False)
    progress = open_progress(to, "x")
    assert isinstance(progress, PlainProgress)
    progress.phase("baseline", 20.0)
    for state in ("armed", "armed", "netem applied"):
        progress.update(State(hosts={"worker-2": state}))
    progress.note("done")
    progress.close()
    assert file.getvalue() == (
        "x\n  baseline (20 s)\n  12.0 s worker-2: armed\n  12.0 s worker-2: netem applied\ndone\n"
    )


def test_a_terminal_gets_a_panel_with_everything_in_it() -> None:
    to, file = console(terminal=True)
    progress = open_progress(to, "50 ms on [bold]one[/bold] worker")
    assert isinstance(progress, LiveProgress)
    with progress:
        progress.update(State(elapsed=5.0))
        progress.phase("observe", 50.0)
        progress.update(State(hosts={"worker-2": "netem applied"}, fault_active=True))
    text = file.getvalue()
    for part in (
        "50 ms on [bold]one[/bold] worker",
        "observe  43 s left in this phase · 63 s in all",
        "██▅",
        "QPS 100/s · errors 2 %",
        "worker-2  netem applied",
        "Ctrl-C undoes every fault",
    ):
        assert part in text


def test_without_an_active_fault_ctrl_c_undoes_nothing() -> None:
    to, file = console(terminal=True)
    with LiveProgress(to, "x") as progress:
        progress.update(State(hosts={"worker-2": "undone"}))
    assert "Ctrl-C undoes" not in file.getvalue()
    assert "no fault is active" in file.getvalue()


def test_the_cursor_is_given_back_even_after_a_crash() -> None:
    to, file = console(terminal=True)
    try:
        with LiveProgress(to, "x"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


def test_close_is_repeatable() -> None:
    to, _ = console(terminal=True)
    progress = LiveProgress(to, "x")
    progress.close()
    progress.close()
