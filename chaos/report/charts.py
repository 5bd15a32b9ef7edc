"""QPS, goodput, latency and errors over time as inline SVG, with the faults shaded and named.

Takes a series and its marks, gives one static SVG a chart; called by `html`. altair describes the chart and
vl-convert draws it offline, in this process. Colours are CSS variables of the page around it, so one drawing serves
light, dark and paper. Each point carries an SVG <title> that a browser shows on hover.

The decision a reader would question: a long run is thinned to at most POINTS groups of windows, and what is drawn of a
group is its mean in a band from its least to its greatest, so that no dip is averaged away; a latency percentile of a
group is its greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray

from chaos.judge.series import Series
from chaos.record.terms import Terms
from chaos.report import wording
from chaos.report.marks import Marks

POINTS = 400
WIDTH = 860
_LABEL_ROW = 13
_NAMED_BANDS = 4
_SVG = "http://www.w3.org/2000/svg"
_TIP = "tip: "
_NUDGE = {"p99": -5, "p50": 6, "offered": -7, "QPS": 6}
"""How far (px) a curve's name stands from its end, so that two that end together can both be read."""

Floats = NDArray[np.float64]
Reduce = Callable[[Floats], float]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: a value for each window, its colour, and how a group of windows becomes one value."""

    name: str
    values: Floats
    colour: str
    reduce: Reduce = np.nanmean
    band: bool = False
    dash: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its words. `svg` is well-formed and safe to stand in a page as it is."""

    title: str
    caption: str
    svg: str


def draw_charts(series: Series, marks: Marks, terms: Terms) -> list[Chart]:
    """Return the charts of a run, all over the same span of time; the series has at least one window."""
    width = series.window_s
    offered = Line("offered", np.asarray(series.scheduled, float) / width, "var(--muted)", dash=(2, 3))
    qps = Line("QPS", _floats(series.qps), "var(--blue)", band=True)
    goodput = Line("goodput", 100 * _floats(series.goodput), "var(--green)", band=True)
    p50 = Line("p50", 1000 * _floats(series.latency_p50_s), "var(--blue)", np.nanmax)
    p99 = Line("p99", 1000 * _floats(series.latency_p99_s), "var(--red)", np.nanmax)
    limit = [] if terms.slo_latency is None else [1000 * terms.slo_latency]
    slo = [Line("SLO", np.full(len(series.qps), ms), "var(--muted)", dash=(6, 3)) for ms in limit]
    errors = Line("errors", _floats(series.errors) / width, "var(--red)", np.nanmax)
    draw = partial(_chart, series, marks, terms.baseline)
    return [
        draw("QPS", "Successful responses per second, by when they ended. Dotted: requests due.", [offered, qps], 150),
        draw("Goodput", "Share of the requests due that succeeded within the SLO, in %.", [goodput], 110),
        draw("Latency", "Of successful requests, from the intended send to the end, in ms.", [*slo, p99, p50], 130),
        draw("Errors", "Failed requests per second.", [errors], 80),
    ]


def _chart(
    series: Series, marks: Marks, baseline: float, title: str, caption: str, lines: list[Line], height: int
) -> Chart:
    groups = np.array_split(np.arange(len(series.qps)), min(POINTS, len(series.qps)))
    starts = [float(series.start_s[g[0]]) for g in groups]
    ends = [float(series.start_s[g[-1]]) + series.window_s for g in groups]
    frame = _Frame(starts, ends, marks, baseline, _axis_y(title, lines))
    curves = [frame.curve(line, [_reduce(line.values[g], line.reduce) for g in groups]) for line in lines]
    ranges = [frame.ranges(line, [line.values[g] for g in groups]) for line in lines if line.band]
    names = frame.names(lines) if len(lines) > 1 else []
    layers = [*frame.shading(), *ranges, *curves, *names, *frame.rules(), frame.tips(lines, groups)]
    each = f" Each point is up to {len(groups[0])} windows." if len(groups[0]) > 1 else ""
    return Chart(
        title,
        f"{caption} Windows of {wording.say(series.window_s, 's')}.{each}",
        _svg(layers, height, frame.headroom, title),
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every layer of one chart shares: the groups' spans, the marks, and the axis of y."""

    starts: list[float]
    ends: list[float]
    marks: Marks
    baseline: float
    axis_y: alt.Y

    @property
    def x(self) -> alt.X:
        return alt.X("t:Q", title=None, scale=alt.Scale(domain=[self.starts[0], self.ends[-1]], nice=False, clamp=True))

    @property
    def middles(self) -> list[float]:
        return [(a + b) / 2 for a, b in zip(self.starts, self.ends, strict=True)]

    @property
    def headroom(self) -> int:
        """How many px stand above the plot for the names of its bands and marks."""
        return 10 + _LABEL_ROW * (1 + min(len(self.marks.bands), _NAMED_BANDS))

    def y(self, field: str = "v") -> alt.Y:
        return self.axis_y.copy().field(field).type("quantitative")

    def curve(self, line: Line, values: list[float | None]) -> alt.Chart:
        rows = [{"t": t, "v": v} for t, v in zip(self.middles, values, strict=True)]
        dash: dict[str, Any] = {"strokeDash": list(line.dash)} if line.dash else {}
        path = _layer(rows).mark_line(color=line.colour, strokeWidth=1 if line.dash else 1.6, **dash)
        drawn: alt.Chart = path.encode(self.x, self.y())
        return drawn

    def names(self, lines: list[Line]) -> list[alt.Chart]:
        """Name each curve at its right end: no legend to look up, and colour never stands alone."""
        ends = [(line, line.values[np.isfinite(line.values)][-1:]) for line in lines]
        return [self._name(line, float(value)) for line, last in ends for value in last]

    def _name(self, line: Line, value: float) -> alt.Chart:
        layer = _layer([{"t": self.ends[-1], "v": value, "name": line.name}])
        text = layer.mark_text(align="left", dx=6, dy=_NUDGE.get(line.name, 0), color=line.colour)
        drawn: alt.Chart = text.encode(self.x, self.y(), text="name:N")
        return drawn

    def ranges(self, line: Line, values: list[Floats]) -> alt.Chart:
        spans = zip(self.middles, values, strict=True)
        rows = [{"t": t, "low": _reduce(v, np.nanmin), "high": _reduce(v, np.nanmax)} for t, v in spans]
        area = _layer(rows).mark_area(color=line.colour, opacity=0.25)
        drawn: alt.Chart = area.encode(self.x, self.y("low"), alt.Y2("high:Q"))
        return drawn

    def shading(self) -> list[alt.Chart]:
        return [*self._warmup(), *self._bands()]

    def _warmup(self) -> list[alt.Chart]:
        if self.starts[0] >= -self.baseline:
            return []
        layer = _layer([{"t": self.starts[0], "end": -self.baseline, "name": "warm-up"}])
        box = layer.mark_rect(color="var(--rule)", opacity=0.6).encode(self.x, alt.X2("end:Q"))
        label = layer.mark_text(align="left", color="var(--muted)")
        return [box, label.encode(self.x, y=alt.value(-8), text="name:N")]

    def _bands(self) -> list[alt.Chart]:
        bands = [(b, b.start_s, self.ends[-1] if b.end_s is None else b.end_s) for b in self.marks.bands]
        return [part for i, (b, a, z) in enumerate(bands) for part in self._band(i, b.name, b.colour, a, z)]

    def _band(self, place: int, name: str, colour: str, start: float, end: float) -> list[alt.Chart]:
        layer = _layer([{"t": start, "end": end, "name": name}])
        box = layer.mark_rect(color=colour, opacity=0.2).encode(self.x, alt.X2("end:Q"))
        if place >= _NAMED_BANDS:
            return [box]
        row = -8 - _LABEL_ROW * (place + 1)
        label = layer.mark_text(align="left", color="var(--ink)").encode(self.x, y=alt.value(row), text="name:N")
        return [box, label]

    def rules(self) -> list[alt.Chart]:
        released, back = self.marks.releases_s[-1:], self.marks.recovered_s
        healed_first = bool(released) and back is not None and back < released[0]
        shown = [self._rule("released", t, (4, 3), right=healed_first) for t in released]
        recovered = [self._rule("recovered", back, (), right=not healed_first)] if back is not None else []
        return [part for pair in shown + recovered for part in pair]

    def _rule(self, name: str, at_s: float, dash: Sequence[int], *, right: bool) -> list[alt.Chart]:
        layer = _layer([{"t": at_s, "name": name}])
        rule = layer.mark_rule(color="var(--ink)", strokeDash=list(dash)).encode(self.x)
        label = layer.mark_text(align="left" if right else "right", dx=3 if right else -3, color="var(--ink)")
        return [rule, label.encode(self.x, y=alt.value(-8), text="name:N")]

    def tips(self, lines: list[Line], groups: list[NDArray[np.intp]]) -> alt.Chart:
        """Give each group an invisible column that says its values; `_svg` makes a <title> of the description."""
        rows = []
        for start, end, group in zip(self.starts, self.ends, groups, strict=True):
            values = ((line.name, _reduce(line.values[group], line.reduce)) for line in lines)
            said = ", ".join(f"{name} {wording.NOTHING if v is None else f'{v:.4g}'}" for name, v in values)
            rows.append({"t": start, "end": end, "tip": f"{_TIP}{wording.say_time(start)}: {said}"})
        column = _layer(rows).mark_rect(color="transparent")
        drawn: alt.Chart = column.encode(self.x, alt.X2("end:Q"), description="tip:N")
        return drawn


def _axis_y(title: str, lines: list[Line]) -> alt.Y:
    """Rates and shares start at zero; latencies that span more than a factor of 20 are drawn by their logarithm."""
    values = np.concatenate([line.values for line in lines])
    known = values[np.isfinite(values) & (values > 0)]
    if title == "Latency" and known.size and known.max() / known.min() > 20:
        low, high = int(np.floor(np.log10(known.min()))), int(np.ceil(np.log10(known.max())))
        decades = [10.0**power for power in range(low, high + 1)]
        return alt.Y(
            title=None, scale=alt.Scale(type="log", domain=[decades[0], decades[-1]]), axis={"values": decades}
        )
    top = 100.0 if title == "Goodput" else float(known.max()) if known.size else 1.0
    return alt.Y(title=None, scale=alt.Scale(domain=[0, 1.05 * top], nice=False, clamp=True))


def _layer(rows: Sequence[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)))


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _reduce(values: Floats, reduce: Reduce) -> float | None:
    """Return the group's value to five digits, None where no window of it has one."""
    known = values[np.isfinite(values)]
    return float(f"{reduce(known):.5g}") if known.size else None


def _svg(layers: Sequence[alt.Chart], height: int, headroom: int, title: str) -> str:
    """Draw the layers. The padding is fixed, not fitted to the labels, so that all charts share one axis of time."""
    padding = {"left": 52, "right": 52, "top": headroom, "bottom": 24}
    size = {"width": WIDTH, "height": height, "padding": padding, "autosize": alt.AutoSizeParams(type="none")}
    chart = alt.layer(*layers).properties(background="transparent", **size)
    themed = chart.configure(font="system-ui, sans-serif").configure_view(stroke=None)
    axes = {
        "labelColor": "var(--muted)",
        "gridColor": "var(--rule)",
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    }
    themed = themed.configure_axis(**axes).configure_axisX(grid=False, tickCount=12).configure_axisY(tickCount=4)
    drawn = vl_convert.vegalite_to_svg(themed.to_dict(), allowed_base_urls=[])
    return _with_titles(drawn, f"{title} over time, in s from the end of the baseline")


def _with_titles(drawn: str, name: str) -> str:
    """Make the SVG one picture with a name, and turn the descriptions of its columns into titles shown on hover."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(drawn)
    for element in root.iter():
        tip = element.attrib.pop("aria-label", "")
        for attribute in ("role", "aria-roledescription", "aria-hidden"):
            element.attrib.pop(attribute, None)
        if tip.startswith(_TIP):
            ElementTree.SubElement(element, f"{{{_SVG}}}title").text = tip.removeprefix(_TIP)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"role": "img", "aria-label": name}
    return ElementTree.tostring(root, encoding="unicode")
