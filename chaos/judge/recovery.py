"""What the fault cost and how long it took to be over: figures from incidents and the episodes that caused them.

    time_to_detect_s   end of the alarm's window - injection          (our alarm, not the service's own alert)
    time_to_recover_s  start of the first recovered window - injection
    recovery_lag_s     the same - the clearing of the fault; 0 when the service healed itself before
    lost_requests      sum over incidents of (A_i - G_i) - (1 - g0) * A_i
    outage_seconds     sum over incidents of (1 - clip(g_i / g0, 0, 1)) * w: the resilience triangle (Bruneau 2003);
                       of a load that is no open loop, with q_i / q0 where that is less

Injection and clearing are the host's acknowledgements. Times have the resolution of one window. A relapse, an incident
within 3 holds of the one before or of the clearing, moves the recovery on; what begins later is not put down to the
fault (it still counts in the dip and in availability). With several episodes the worst counts.

No incident is a result, not a gap: the fault was there (its dose is confirmed) and the service did not show it, so it
took 0 s to recover; there was nothing to detect, and that figure has no value. An incident that is still open at the
end gives no value but a lower bound: how long it lasted for certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from chaos.judge.baseline import GUARD, Baseline
from chaos.judge.finding import Finding, Findings, measured, missing
from chaos.judge.incidents import HOLD, REACH, Incident, Watch
from chaos.judge.interventions import Episode
from chaos.judge.requests import BoolArray
from chaos.judge.series import Series
from chaos.judge.verdict import Figure

RELAPSE = 3 * HOLD
UNSEEN = "no onset was seen: the fault never took the service out of the band of its baseline"


@dataclass(frozen=True)
class Recovery:
    """One episode, times in s from its injection. `recovered_s` is None while open; then `at_least_s` is certain."""

    detected_s: float | None
    recovered_s: float | None
    at_least_s: float
    lag_s: float | None
    why_open: str


def incidents_of(series: Series, watch: Watch, episode: Episode) -> list[Incident]:
    """Return the incidents of an episode, from a guard before it: what was in flight then was due before."""
    injected = series.index(episode.injected_s)
    found = watch.incidents(max(injected - GUARD, 0), _stop(series, episode))
    during = (i for i in found if not (i.recovered and i.end <= injected))
    return _chain(during, _settled(series, episode))


def recovery_of(series: Series, incidents: Sequence[Incident], episode: Episode) -> Recovery:
    """Return when an episode was over."""
    if not incidents:
        return Recovery(None, 0.0, 0.0, 0.0, "")
    last = incidents[-1]
    detected = max(0.0, (incidents[0].detected + 1) * series.window_s + float(series.start_s[0]) - episode.injected_s)
    certain = max(0.0, _time(series, last.end if last.recovered else last.in_band_from) - episode.injected_s)
    lag = None if episode.cleared_s is None else max(0.0, certain + episode.injected_s - episode.cleared_s)
    recovered = certain if last.recovered else None
    return Recovery(detected, recovered, certain, lag, "" if last.recovered else _why_open(series, last, episode))


def disturbed(series: Series, incidents: Sequence[Incident], linger: int = 0) -> BoolArray:
    """Return which windows belong to an incident, or to the `linger` windows after one."""
    mask = np.zeros(len(series.start_s), np.bool_)
    for incident in incidents:
        mask[incident.onset : incident.in_band_from + linger] = True
    return mask


def recovery_findings(
    series: Series,
    baseline: Baseline,
    incidents: Sequence[Incident],
    recoveries: Sequence[Recovery],
    by_rate: bool = False,
) -> Findings:
    """Return the five figures of a run with at least one episode; `by_rate`: requests that stay away are an outage."""
    open_ones = [r for r in recoveries if r.recovered_s is None]
    lasting = max(recoveries, key=lambda r: r.at_least_s)
    worst = max(open_ones, key=lambda r: r.at_least_s) if open_ones else lasting
    return {
        "time_to_detect_s": _detect(recoveries),
        "time_to_recover_s": _recover(worst, lasting, bool(incidents)),
        "recovery_lag_s": _lag(worst, recoveries, bool(incidents)),
        **_cost(series, baseline, incidents, worst.why_open, by_rate),
    }


def _stop(series: Series, episode: Episode) -> int:
    return min(int(np.sum(series.start_s < episode.until_s - 1e-9)), len(series.start_s))


def _time(series: Series, window: int) -> float:
    return window * series.window_s + float(series.start_s[0])


def _settled(series: Series, episode: Episode) -> int:
    """Return the last window in which an onset may be the fault's doing where nothing happened before."""
    return _stop(series, episode) if episode.cleared_s is None else series.index(episode.cleared_s) + RELAPSE


def _chain(incidents: Iterable[Incident], settled: int) -> list[Incident]:
    """Return the incidents that belong to the fault: those that begin before `settled`, and relapses of them."""
    kept: list[Incident] = []
    for incident in incidents:
        if incident.onset > settled:
            break
        kept.append(incident)
        settled = max(settled, incident.end + RELAPSE)
    return kept


def _why_open(series: Series, last: Incident, episode: Episode) -> str:
    stop_s = _time(series, last.end)
    spell = last.end - last.in_band_from
    if spell == 0:
        return f"not recovered within {stop_s - episode.injected_s:.3g} s: at the end it was still out of its band"
    needed = HOLD + REACH
    return (
        f"back in its band for the last {spell * series.window_s:.3g} s only, {needed * series.window_s:.3g} s are "
        f"required to call it recovered: lengthen timeline.observe by {max(needed - spell, 1) * series.window_s:.3g} s"
    )


def _detect(recoveries: Sequence[Recovery]) -> Finding:
    seen = [r.detected_s for r in recoveries if r.detected_s is not None]
    return measured(max(seen), "s") if seen else missing("s", f"{UNSEEN}, so there was nothing to detect")


def _recover(worst: Recovery, lasting: Recovery, seen: bool) -> Finding:
    if worst.recovered_s is None:
        return missing("s", worst.why_open, at_least=lasting.at_least_s)
    return Finding(Figure(value=worst.recovered_s, unit="s"), "" if seen else UNSEEN)


def _lag(worst: Recovery, recoveries: Sequence[Recovery], seen: bool) -> Finding:
    lags = [r.lag_s for r in recoveries if r.lag_s is not None]
    if len(lags) < len(recoveries):
        return missing("s", "a fault was never seen cleared")
    if worst.recovered_s is None:
        return missing("s", worst.why_open, at_least=max(lags))
    return Finding(Figure(value=max(lags), unit="s"), "" if seen else UNSEEN)


def _cost(series: Series, baseline: Baseline, incidents: Sequence[Incident], why_open: str, by_rate: bool) -> Findings:
    """Return lost requests and outage. While an incident is open both are what they came to by the end, or more."""
    mask, g0 = disturbed(series, incidents), baseline.goodput.x0
    due, good = series.scheduled[mask], series.good[mask]
    lost = max(0.0, float(np.sum(g0 * due - good)))
    served = np.clip(np.nan_to_num(series.goodput[mask] / g0, nan=1.0), 0.0, 1.0)
    if by_rate:
        served = np.minimum(served, np.nan_to_num(series.qps[mask] / baseline.qps.x0, nan=1.0))
    outage = float(np.sum(1 - served)) * series.window_s
    reason = f"counted to the end of the observation, where it was not over: {why_open}" if why_open else ""
    return {
        name: Finding(
            Figure(value=value, unit=unit, window_s=series.window_s, n=int(mask.sum())),
            reason,
            value if why_open else None,
        )
        for name, value, unit in (("lost_requests", lost, "requests"), ("outage_seconds", outage, "s"))
    }
