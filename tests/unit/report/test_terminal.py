from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from chaos.judge.series import Series, series_of
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording
from chaos.report.terminal import render_verdict, verdict_text
from tests.unit.report import report_examples as examples

HYPOTHESIS = str(examples.TERMS["hypothesis"])
VERDICTS = {"pass": examples.verdict(), "fail": examples.verdict("fail"), "unknown": examples.unsound()}
VERDICTS["streams"] = examples.streamed()


def shown(verdict: Verdict, series: Series, width: int, height: int, *, color: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system="standard" if color else None,
        _environ={},
    )
    with console.capture() as captured:
        render_verdict(verdict, series, console, hypothesis=HYPOTHESIS, report=Path("runs/x/report.html"))
    return captured.get()


@pytest.mark.parametrize("outcome", VERDICTS)
def test_the_verdict_reads_as_agreed(outcome: str, series: Series, golden: Path) -> None:
    expected = (golden / f"{outcome}.txt").read_text(encoding="utf-8")
    assert verdict_text(VERDICTS[outcome], series, hypothesis=HYPOTHESIS, width=80) + "\n" == expected


def test_probes_read_as_agreed(series: Series, golden: Path) -> None:
    text = verdict_text(examples.verdict(probes=examples.PROBES), series, hypothesis=HYPOTHESIS, width=80)
    assert text + "\n" == (golden / "probes.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("outcome", VERDICTS)
@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30)])
def test_the_verdict_fits_one_screen(outcome: str, width: int, height: int, series: Series) -> None:
    lines = shown(VERDICTS[outcome], series, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_long_verdict_is_cut_to_the_screen_worst_first_and_says_so(series: Series) -> None:
    passed = [examples.budget(f"passed-{i}", 1.0, 0.5, "pass") for i in range(12)]
    budgets = (*passed, examples.budget("broken", 1.0, 2.0, "fail"))
    long = examples.verdict("fail", budgets=budgets, faults=(examples.NETEM,) * 9, reasons=("too slow",) * 9)
    text = shown(long, series, 80, 24)
    assert len(text.splitlines()) < 24
    assert "broken" in text
    assert "… and 8 more in the report" in text


def test_what_is_stuck_is_never_cut(series: Series) -> None:
    stuck = tuple(f"worker-{i}: run `tc qdisc del dev eth0 root` by hand" for i in range(30))
    text = shown(examples.verdict("unknown", stuck=stuck), series, 80, 24)
    assert all(f"worker-{i}: run" in text for i in range(30))


def test_colour_only_on_a_terminal_that_has_it(series: Series) -> None:
    assert "\x1b[" in shown(VERDICTS["fail"], series, 80, 24, color=True)
    assert "\x1b" not in verdict_text(VERDICTS["fail"], series)


def test_names_are_neither_markup_nor_control_sequences(series: Series) -> None:
    hostile = examples.verdict(experiment="[bold]x[/bold]\x1b[2J[link=http://evil]y", run="runs/[red]")
    text = verdict_text(hostile, series)
    assert "[bold]x[/bold]\ufffd[2J[link=http://evil]y" in text
    assert "runs/[red]" in text


def test_a_run_without_requests_has_no_shape(tmp_path: Path) -> None:
    folder = examples.write_recording(tmp_path / "run")
    (folder / "samples.bin").unlink()
    empty = series_of(Recording.open(folder))
    assert not len(empty.start_s)
    assert "QPS, 0 to" not in verdict_text(examples.verdict("unknown"), empty)
