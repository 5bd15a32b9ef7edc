"""The verdict on one screen: headline and reasons first, then budgets, figures, what was done, and the shape of QPS.

Takes a verdict and its series, prints to a rich console; called by the CLI and, as plain text, by pytest. The decision
a reader would question: on a terminal long lists are cut until the verdict fits the window, worst lines kept, and what
was cut is counted; a pipe or a file gets everything. What is STUCK is never cut: a person has to act on it.

Nothing is read as rich markup, since names come from the recording. Colour only underlines what the words already say.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from chaos.judge.verdict import BudgetLine, FaultLine, Figure, Generator, Outcome, ProbeLine, Verdict
from chaos.report import wording
from chaos.report.marks import Marks, marks_of
from chaos.report.sparkline import BACK, HELD, span_line, sparkline

if TYPE_CHECKING:
    from chaos.judge.series import Series

COLOURS: dict[Outcome, str] = {"pass": "green", "fail": "red", "unknown": "yellow"}
_WORST_FIRST: tuple[Outcome, ...] = ("fail", "unknown", "pass")
_EVERYTHING = 1000
_CUTS = (_EVERYTHING, 8, 6, 4, 3, 2, 1)

_FIGURES = {
    "QPS": (("qps_mean", "mean"), ("qps_p05", "p05"), ("qps_dip", "dip")),
    "CV": (("qps_cv_real", "real"), ("qps_cv_raw", "raw"), ("qps_cv_noise", "noise")),
    "Served": (
        ("goodput_ratio", "goodput"),
        ("availability_requests", "availability"),
        ("error_ratio", "errors"),
        ("lost_requests", "lost"),
    ),
    "Latency": (("latency_p50_s", "p50"), ("latency_p90_s", "p90"), ("latency_p99_s", "p99"), ("latency_max_s", "max")),
    "TTFT": (("ttft_p50_s", "p50"), ("ttft_p90_s", "p90"), ("ttft_p99_s", "p99")),
    "Tokens": (
        ("tokens_per_second", ""),
        ("tpot_p50_s", "TPOT p50"),
        ("tpot_p99_s", "p99"),
        ("itl_p50_s", "ITL p50"),
        ("itl_p99_s", "p99"),
    ),
    "Recovery": (
        ("time_to_detect_s", "detected in"),
        ("time_to_recover_s", "recovered in"),
        ("recovery_lag_s", "after release"),
    ),
}


def render_verdict(
    verdict: Verdict, series: Series, console: Console, *, hypothesis: str = "", report: Path | None = None
) -> None:
    """Print a verdict. `series` may be empty; `report` is the HTML file, if one was written."""
    for most in _CUTS if console.is_terminal else (_EVERYTHING,):
        screen = Group(*_screen(verdict, series, hypothesis, report, most, console.width))
        if len(console.render_lines(screen, pad=False)) < console.height:
            break
    console.print(screen)


def verdict_text(verdict: Verdict, series: Series, *, hypothesis: str = "", width: int = 100) -> str:
    """Return the verdict as plain text without colour, uncut: pytest's failure message."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        render_verdict(verdict, series, console, hypothesis=hypothesis)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _screen(
    verdict: Verdict, series: Series, hypothesis: str, report: Path | None, most: int, width: int
) -> Iterable[RenderableType]:
    yield _headline(verdict)
    if hypothesis:
        yield Text(_shorten(wording.printable(hypothesis), 2 * width), style="dim")
    yield from _points(verdict.stuck, "bold red", "STUCK ", _EVERYTHING)
    yield from _points(verdict.reasons, "", "", most)
    yield from _points(verdict.drift, "yellow", "drift: ", most)
    if verdict.budgets:
        yield _budgets(verdict.budgets, most)
    yield _facts(verdict, series, report, most, width)


def _headline(verdict: Verdict) -> Text:
    if verdict.rehearsal is not None:
        said = wording.REHEARSALS[verdict.rehearsal]
        name = Text(f"  {wording.printable(verdict.experiment)}: {said}", style="bold")
        return Text(f"{wording.SYMBOLS['unknown']} REHEARSAL", style="bold yellow").append_text(name)
    judged = verdict.budgets or verdict.verdict != "pass"  # a sound run that nothing was asked of passes nothing
    word = f"{wording.SYMBOLS[verdict.verdict]} {verdict.verdict.upper() if judged else 'MEASURED'}"
    name = Text(f"  {wording.printable(verdict.experiment)}", style="bold")
    return Text(word, style=f"bold {COLOURS[verdict.verdict]}").append_text(name)


def _points(lines: Sequence[str], style: str, prefix: str, most: int) -> Iterable[RenderableType]:
    for line in lines[:most]:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text("·", style=style), Text(prefix + wording.printable(line), style=style))
        yield grid
    if len(lines) > most:
        yield Text(f"  … and {len(lines) - most} more in the report", style="dim")


def _budgets(budgets: Sequence[BudgetLine], most: int) -> Table:
    worst_first = sorted(budgets, key=lambda b: _WORST_FIRST.index(b.verdict))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("Budget", "Limit", "Value", "Interval", "Verdict"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("Limit", "Value") else "left")
    for line in worst_first[:most]:
        table.add_row(*_budget_row(line))
    if len(worst_first) > most:
        table.add_row(f"… and {len(worst_first) - most} more")
    return table


def _budget_row(line: BudgetLine) -> tuple[str | Text, ...]:
    word = Text(f"{wording.SYMBOLS[line.verdict]} {line.verdict.upper()}", style=COLOURS[line.verdict])
    interval = wording.say_interval(line.interval, line.unit, line.name)
    return Text(wording.printable(line.name)), wording.say_limit(line), wording.say_value(line), interval, word


def _facts(verdict: Verdict, series: Series, report: Path | None, most: int, width: int) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for heading, said in _measured(verdict, most):
        grid.add_row(heading, said)
    _add_lines(grid, "Fault", [_fault(line) for line in verdict.faults], most)
    _add_lines(grid, "Probe", [_probe(line) for line in verdict.probes], most)
    grid.add_row("Load", _generator(verdict.generator))
    if len(series.qps):
        grid.add_row("", _shape(series, marks_of(verdict), width - 10))
    path = wording.printable(str(report or verdict.run))
    grid.add_row("Report" if report else "Recording", Text(path, overflow="fold"))  # whole, to be copied
    return grid


def _measured(verdict: Verdict, most: int) -> Iterator[tuple[str, str]]:
    """Yield the figures by heading, and what the requests without an answer came to."""
    for heading, names in _FIGURES.items():
        if said := _figures(verdict, names):
            yield heading, said
        if heading == "Served" and verdict.errors:
            yield "Errors", wording.say_errors(verdict.errors, most)


def _add_lines(grid: Table, heading: str, lines: Sequence[Text], most: int) -> None:
    """Add a row a line, and where there are more of them than `most`, how many."""
    for line in lines[:most]:
        grid.add_row(heading, line)
    if len(lines) > most:
        grid.add_row("", f"… and {len(lines) - most} more in the report")


def _figures(verdict: Verdict, names: Sequence[tuple[str, str]]) -> str:
    there = [(name, word, verdict.figures[name]) for name, word in names if name in verdict.figures]
    said = [f"{word} {_figure(figure, name)}".lstrip() for name, word, figure in there]
    window = next((f.window_s for name, _, f in there if f.window_s and "_cv" in name), None)
    return " · ".join(said) + (f" · {wording.say(window, 's')} windows" if window else "")


def _figure(figure: Figure, name: str) -> str:
    interval = wording.say_interval(figure.interval, figure.unit, name)
    return wording.say(figure.value, figure.unit, name) + (f" {interval}" if interval else "")


def _probe(line: ProbeLine) -> Text:
    name = line.name if line.name == line.kind else f"{line.name} ({line.kind})"
    return Text(f"{wording.printable(name)}: {line.failed:,} of {line.n:,} checks failed, {wording.say_seen(line)}")


def _fault(line: FaultLine) -> Text:
    text = Text(f"{wording.printable(line.kind)} on {wording.printable(line.host)}, ")
    text.append(wording.say_span(line.applied_at_s, line.cleared_at_s) + ": ")
    for name, asked, achieved in wording.say_dose(line.asked, line.achieved):
        text.append(f"{name} {asked} asked, {achieved} achieved; ")
    text.append("confirmed" if line.confirmed else "NOT CONFIRMED", style="" if line.confirmed else "yellow")
    text.append(", ")
    return text.append("undone" if line.reverted else "NOT UNDONE", style="" if line.reverted else "bold red")


def _generator(load: Generator) -> Text:
    text = Text("sound" if load.sound else "NOT SOUND")
    text.append(f": {wording.say_load(load)}")
    if load.cpu_busiest is not None:
        text.append(f" · busiest {wording.say(load.cpu_busiest, '1')} of a core")
        text.append(f" · loop lag p99 {wording.say(load.loop_lag_p99_s, 's')}")
    if not load.sound:
        text.stylize("yellow", 0, len("NOT SOUND"))
    return text


def _shape(series: Series, marks: Marks, width: int) -> Text:
    bars = sparkline(list(series.qps), max(width, 8))
    start, end = float(series.start_s[0]), float(series.start_s[-1]) + series.window_s
    lines = [bars, span_line(marks, start, end, len(bars)), _legend(series, marks, start, end)]
    return Text("\n".join(line for line in lines if line), no_wrap=True, overflow="crop")


def _legend(series: Series, marks: Marks, start: float, end: float) -> str:
    held = f" · {HELD} fault" if marks.bands else ""
    back = f" · {BACK} back at {wording.say_time(marks.recovered_s)}" if marks.recovered_s is not None else ""
    top = wording.say(max((q for q in series.qps if not math.isnan(q)), default=math.nan), "1/s")
    return f"QPS, 0 to {top}, {wording.say_time(start)} to {wording.say_time(end)}{held}{back}"


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
