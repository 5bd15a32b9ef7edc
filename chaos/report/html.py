"""The verdict in one HTML file: opens offline, prints on A4, reads in light and dark.

Takes a recording and its verdict, writes one file; called by the CLI after a run and by `gameday report`. A recording
may come from somebody else, so three walls stand: jinja2 escapes every string, the charts are drawn from data and
re-serialised, and the page forbids itself every script and every fetch (Content-Security-Policy). There is no script in
it, and so nothing to trust. The one string that is not escaped is our own: the style sheet and the SVG of `charts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from chaos.errors import RecordingError
from chaos.judge.series import series_of
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording
from chaos.report import wording
from chaos.report.charts import Chart, draw_charts
from chaos.report.evidence import MOST, happenings
from chaos.report.marks import marks_of, shades_of

_YAML_MOST = 100_000


def write_html(recording: Recording, verdict: Verdict, path: Path) -> None:
    """Write the report of one run. Raises RecordingError when a file of the recording is damaged."""
    path.write_text(_template().render(_context(recording, verdict)), encoding="utf-8", errors="replace")


def _template() -> Template:
    loader = PackageLoader("chaos.report", ".")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["line"] = wording.printable
    made.globals |= {"wording": wording, "css": Markup(loader.get_source(made, "report.css")[0])}
    return made.get_template("report.html.j2")


def _context(recording: Recording, verdict: Verdict) -> dict[str, Any]:
    rows = happenings(recording.events, recording.zero)
    figures = sorted(verdict.figures.items(), key=lambda item: wording.figure_order(item[0]))
    return {
        "verdict": verdict,
        "terms": recording.terms,
        "figures": figures,
        "charts": _charts(recording, verdict),
        "happenings": rows[:MOST],
        "untold": max(0, len(rows) - MOST),
        "environment": list(_flat(recording.meta)),
        "yaml": _yaml(recording.path / "experiment.yaml"),
    }


def _charts(recording: Recording, verdict: Verdict) -> list[Chart]:
    series = series_of(recording)
    if not len(series.start_s):
        return []
    return draw_charts(series, marks_of(verdict, shades_of(recording.events)), recording.terms)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested JSON as ("host.cpus", "8")."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        said = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        yield wording.printable(key), wording.printable(said)


def _yaml(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RecordingError(f"{path}: can't be read: {error}") from error
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text[:_YAML_MOST])
    left = len(text) - len(shown)
    return shown + (f"\n# … {left} more characters in experiment.yaml" if left else "")
