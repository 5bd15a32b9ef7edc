"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.benchmarks.figures import Figure, quantity
from scripts.benchmarks.result import Result
from scripts.benchmarks.rounds import Measured, middle

_HEAD = """\
# Benchmarks

Written by `{command}`; don't edit it. Ratios are taken within a round and the median of the rounds counts; the spread
is the lowest and the highest of them. What missed its target is shown as missing it.
"""
_FIGURES = ("figure", "must reach", "measured", "spread", "ours", "peer", "verdict")
_RATES = ("client", "median", "lowest", "highest", "rounds")


def page(results: Sequence[Result], facts: Mapping[str, str], command: str) -> str:
    """Return the whole page."""
    parts = [
        _HEAD.format(command=command),
        table(_FIGURES, [_figure(figure) for result in results for figure in result.figures]),
        *(_section(result) for result in results),
        "## Machine and versions\n",
        table(("", ""), list(facts.items())),
    ]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of GitHub's Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _figure(figure: Figure) -> tuple[str, ...]:
    unit = figure.target.unit
    value = "-" if figure.value is None else quantity(figure.value, unit)
    spread = " to ".join(quantity(end, unit) for end in figure.spread or ())
    verdict = f"**{figure.verdict}**" if figure.verdict != "met" else figure.verdict
    name = f"{figure.target.figure} ({figure.note})" if figure.note else figure.target.figure
    return name, str(figure.target), value, spread, figure.ours, figure.peer, verdict


def _section(result: Result) -> str:
    parts = [f"## {result.title}\n", *(f"{note}\n" for note in result.notes)]
    if result.rates:
        parts.append(table(_RATES, _rates(result.rates)))
    return "\n".join(parts)


def _rates(rates: Measured) -> list[tuple[str, ...]]:
    rows = []
    for name, values in rates.items():
        found = middle(values)
        shown = [quantity(value, "/s") for value in (found[0], *found[1])] if found else ["failed", "", ""]
        rows.append((name, *shown, str(len(values))))
    return rows
