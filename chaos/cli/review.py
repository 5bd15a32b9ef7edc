"""Commands on recordings: judge, report. They reach no host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chaos.cli._common import JsonOption, say
from chaos.errors import ChaosError, InputError, RecordingError

Run = Annotated[Path, typer.Argument(help="A recording: a folder under runs/, or its `latest`.")]


def judge(run: Run, as_json: JsonOption = False) -> None:
    """Judge a recording again; it gives the same verdict on any machine."""
    from chaos.cli.operate import show
    from chaos.conduct import conclude
    from chaos.record.recording import Recording
    from chaos.report.jsonout import verdict_json

    with _as_data(run):
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

    with _as_data(run):
        recording = Recording.open(run)
        verdict = judged(recording)
        write_html(recording, verdict, output)
        if as_json:
            sys.stdout.write(verdict_json([verdict]))
        else:
            say(str(output))


@contextmanager
def _as_data(run: Path) -> Iterator[None]:
    """Have whatever a recording of somebody else's brings about end as an error of one line.

    Each file is checked as it is read; what they say together may still be nothing that can be judged.
    """
    try:
        yield
    except ChaosError:
        raise
    except OSError as error:
        raise InputError(f"{run}: {error}") from error
    except Exception as error:
        from chaos.record.reading import why

        said = f"{type(error).__name__}: {why(error)}"
        raise RecordingError(f"{run}: nothing can be made of this recording, which is damaged: {said}") from error
