"""Commands on recordings: judge, report. They reach no host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from chaos.cli._common import JsonOption

Run = Annotated[Path, typer.Argument(help="A recording: a folder under runs/, or its `latest`.")]


def judge(run: Run, as_json: JsonOption = False) -> None:
    """Judge a recording again; it gives the same verdict on any machine."""
    from chaos.cli.operate import show
    from chaos.conduct import conclude
    from chaos.record.recording import Recording
    from chaos.report.jsonout import verdict_json

    done = conclude(Recording.open(run))
    if as_json:
        sys.stdout.write(verdict_json([done.verdict]))
    else:
        show(done)
    raise typer.Exit(int(done.exit_code))


def report(
    run: Run,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    as_json: JsonOption = False,
) -> None:
    """Render a recording as one HTML file that opens offline."""
    from chaos.judge import judge as judged
    from chaos.record.recording import Recording
    from chaos.report.html import write_html
    from chaos.report.jsonout import verdict_json

    recording = Recording.open(run)
    verdict = judged(recording)
    write_html(recording, verdict, output)
    if as_json:
        sys.stdout.write(verdict_json([verdict]))
    else:
        typer.echo(str(output))
