"""How numbers are said, once for every surface: 0.0501 s -> "50.1 ms", 0.99995 -> "99.995 %", 199.6 1/s -> "199.6/s".

Takes the SI values of a verdict, gives short text; called by everything in `chaos.report`. The decision a reader would
question: a share just below one is never rounded up to it, since 100 % is a different claim from 99.995 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from chaos.judge.verdict import BudgetLine, Figure, Generator, Outcome, ProbeLine
from chaos.units import show_seconds

NOTHING = "—"
SYMBOLS: dict[Outcome, str] = {"pass": "✓", "fail": "✗", "unknown": "?"}
REHEARSALS: dict[Outcome, str] = {
    "pass": "it went well; no fault was applied, so nothing was tested",
    "fail": "a budget is broken without any fault",
    "unknown": "it did not go as it should; no fault was applied",
}

LABELS = {
    "offered_rate": "offered rate",
    "achieved_rate": "achieved rate",
    "qps_mean": "QPS, mean",
    "qps_p05": "QPS, 5th percentile",
    "qps_cv_real": "CV of QPS, real",
    "qps_cv_raw": "CV of QPS, raw",
    "qps_cv_noise": "CV of QPS, noise",
    "qps_dip": "QPS dip",
    "goodput_ratio": "goodput",
    "error_ratio": "errors",
    "availability_requests": "availability by requests",
    "availability_time": "availability by time",
    "latency_p50_s": "latency p50",
    "latency_p90_s": "latency p90",
    "latency_p99_s": "latency p99",
    "latency_max_s": "latency, greatest",
    "ttft_p50_s": "time to first token p50",
    "ttft_p90_s": "time to first token p90",
    "ttft_p99_s": "time to first token p99",
    "tpot_p50_s": "time per output token p50",
    "tpot_p99_s": "time per output token p99",
    "itl_p50_s": "inter-token latency p50",
    "itl_p99_s": "inter-token latency p99",
    "tokens_per_second": "output tokens per second",
    "time_to_detect_s": "time to detect",
    "time_to_recover_s": "time to recover",
    "recovery_lag_s": "recovery after release",
    "lost_requests": "lost requests",
    "outage_seconds": "equivalent outage",
}
"""Every figure of a verdict in the order in which people read them, and what it is called."""

_ORDER = {name: place for place, name in enumerate(LABELS)}
_DOSE_UNITS = {"_bytes_per_s": "B/s", "_per_s": "1/s", "_bytes": "B", "_s": "s", "_ratio": "1", "_share": "1"}
_SHARES = frozenset({"loss", "corrupt", "duplicate", "reorder", "probability", "share", "correlation"})
_SIDES = {"max": "≤", "min": "≥"}


def printable(text: str) -> str:
    """Return text on one line with every control character (also ESC and bidirectional overrides) made visible."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def figure_order(name: str) -> tuple[int, str]:
    """Return the key that sorts figures as LABELS lists them, and those it does not know behind, by name."""
    return _ORDER.get(name, len(_ORDER)), name


def label(name: str) -> str:
    """Return what a figure is called."""
    return LABELS.get(name, name.replace("_", " "))


def say(value: float | None, unit: str, name: str = "") -> str:
    """Return a value with its unit; "—" where there is none. `name` tells a share (82 %) from a coefficient (0.05)."""
    if value is None or math.isnan(value):
        return NOTHING
    if unit == "s":
        return _seconds(value)
    if unit == "1":
        return f"{value:.3g}" if "_cv" in name else _share(value)
    if unit in ("B", "B/s"):
        return _bytes(value) + unit.removeprefix("B")
    return _plain(value) + ("/s" if unit == "1/s" else "")


def say_interval(interval: tuple[float, float] | None, unit: str, name: str = "") -> str:
    """Return "[198.1/s, 201/s]", or "" where there is no interval."""
    return f"[{say(interval[0], unit, name)}, {say(interval[1], unit, name)}]" if interval else ""


def say_basis(figure: Figure, name: str) -> str:
    """Return what a figure rests on: "[198.1/s, 201/s] · 1 s windows · n\xa0=\xa042" (no break within)."""
    window = f"{say(figure.window_s, 's')} windows" if figure.window_s else ""
    count = f"n\xa0=\xa0{figure.n:,}" if figure.n is not None else ""
    return " · ".join(part for part in (say_interval(figure.interval, figure.unit, name), window, count) if part)


def say_errors(errors: Mapping[str, int], most: int) -> str:
    """Return the failed requests by kind, the `most` frequent ones: "1,212 connect refused · 40 status 503"."""
    said = [f"{count:,} {printable(kind.replace('_', ' '))}" for kind, count in errors.items()]
    return " · ".join(said[:most]) + (f" · … and {len(said) - most} more" if len(said) > most else "")


def say_limit(line: BudgetLine) -> str:
    """Return a budget's limit with its side: "≤ 15 s"."""
    return f"{_SIDES[line.side]} {say(line.limit, line.unit, line.name)}"


def say_value(line: BudgetLine) -> str:
    """Return a budget's value, with all its digits where the rounded one would read the same as the limit."""
    said = say(line.value, line.unit, line.name)
    same = line.value is not None and line.value != line.limit and said == say(line.limit, line.unit, line.name)
    return f"{said} ({line.value:.9g})" if same else said


def say_load(load: Generator) -> str:
    """Return which load it was and how it went: "closed loop by Locust, 100/s sent, latency from the send"."""
    achieved, offered = say(load.achieved_rate, "1/s"), say(load.offered_rate, "1/s")
    if load.loop == "closed":
        return f"closed loop by Locust, {achieved} sent, latency from the send"
    if load.loop == "watched":
        return f"watched and not made by us, {achieved} of {offered} served"
    delay = say(load.send_delay_p99_s, "s")
    return f"{achieved} of {offered} sent · send delay p99 {delay} · {load.unsent} unsent"


def say_time(at_s: float | None, digits: int = 1) -> str:
    """Return a point on the run's time axis, s from the end of the baseline: "-12.5 s"."""
    return NOTHING if at_s is None else f"{at_s:.{digits}f} s"


def say_span(from_s: float | None, to_s: float | None) -> str:
    """Return when a fault held: "0.0 s to 20.0 s"."""
    if from_s is None:
        return "never applied"
    return f"{say_time(from_s)} to {say_time(to_s)}" if to_s is not None else f"{say_time(from_s)}, never cleared"


def say_seen(line: ProbeLine) -> str:
    """Return when a probe saw its target go and come back: "failing from 0.41 s, detected at 0.61 s, back at 9.1 s"."""
    if line.detected_at_s is None:
        return "nothing detected"
    beside = ""
    if line.after_onset_s is not None:
        side = "before" if line.after_onset_s < 0 else "after"
        beside = f" ({say(abs(line.after_onset_s), 's')} {side} the load's onset)"
    back = "still down at the end" if line.recovered_at_s is None else f"back at {say_time(line.recovered_at_s, 2)}"
    return f"failing from {say_time(line.onset_at_s, 2)}, detected at {say_time(line.detected_at_s, 2)}{beside}, {back}"


def say_dose(asked: Mapping[str, float], achieved: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Return a row (name, asked, achieved) for each quantity of a dose; the name's ending tells its unit."""
    names = list(dict.fromkeys([*asked, *achieved]))
    return [(_bare(n), say(asked.get(n), _dose_unit(n)), say(achieved.get(n), _dose_unit(n))) for n in names]


def _dose_unit(name: str) -> str:
    if not _SHARES.isdisjoint(name.split("_")):
        return "1"
    return next((unit for ending, unit in _DOSE_UNITS.items() if name.endswith(ending)), "")


def _bare(name: str) -> str:
    ending = next((e for e in _DOSE_UNITS if name.endswith(e)), "")
    return printable(name.removesuffix(ending).replace("_", " "))


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    return show_seconds(value) if value > 0 else f"-{show_seconds(-value)}"


def _share(value: float) -> str:
    short_of_one = abs(1 - value)
    if not 0 < short_of_one < 0.1:
        return f"{100 * value:.3g} %"
    digits = min(8, math.ceil(-math.log10(short_of_one)))
    return f"{round(100 * value, digits):.12g} %"


def _bytes(value: float) -> str:
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {prefix}B"
    return f"{value:.3g} B"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
