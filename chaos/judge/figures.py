"""All figures of a run, by name: where the subjects meet, and where it is decided what each is over.

    over the observation, the fault in it   qps_mean qps_p05 qps_dip goodput availability error_ratio latency ttft
                                            tpot itl tokens_per_second
    over its steady windows                 qps_cv_*: the observation less every incident and every burst of the load,
                                            and less the time for which answers to their requests may still come in
                                            (one baseline p95)
    over the incidents                      time_to_detect time_to_recover recovery_lag lost_requests outage_seconds

So a fault that makes QPS flutter without ever leaving its band is found in the CV, and one that takes QPS down is
found in the dip and in the recovery: neither hides the other, and no CV is computed across a level shift. Nor is what
the load adds by intent any fluctuation of the service; whether the service bore it shows in goodput, in latency and in
the recovery, since a burst is an intervention like any fault.

A figure that can't apply is absent: recovery without a fault, a dip where no baseline was asked for, time to first
token without streaming. A figure that applies and has no value is there as null, and a reason says why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chaos.judge.availability import availability_findings
from chaos.judge.baseline import LATENCY_RESOLUTION_S, Baseline
from chaos.judge.dispersion import Dispersion, dispersion_of
from chaos.judge.existing import qualified, rate_watch
from chaos.judge.finding import Findings, missing
from chaos.judge.fluctuation import fluctuation_findings
from chaos.judge.incidents import HOLD, REACH, Incident, watch
from chaos.judge.interventions import Episode, episodes
from chaos.judge.latency import latency_findings
from chaos.judge.recovery import disturbed, incidents_of, recovery_findings, recovery_of
from chaos.judge.requests import BoolArray, Requests
from chaos.judge.series import Series
from chaos.judge.streams import Streams, stream_findings
from chaos.judge.throughput import throughput_findings
from chaos.judge.verdict import FaultLine, Generator
from chaos.record.calibration import Calibration
from chaos.record.terms import AT_ONCE, Terms

RECOVERY = {
    "time_to_detect_s": "s",
    "time_to_recover_s": "s",
    "recovery_lag_s": "s",
    "lost_requests": "requests",
    "outage_seconds": "s",
}
NEEDS_BASELINE = frozenset({"qps_dip", "availability_time"})


@dataclass(frozen=True)
class Measurement:
    """What was measured: the requests and their series, the baseline where there is one, the load, what was done.

    `zero` is the end of the baseline in ns; `streams` is None where answers were not streamed, `calibration` where the
    generator was not calibrated.
    """

    terms: Terms
    zero: int
    requests: Requests
    series: Series
    baseline: Baseline | None
    generator: Generator
    faults: tuple[FaultLine, ...]
    streams: Streams | None = None
    calibration: Calibration | None = None

    @property
    def due(self) -> BoolArray:
        """Which requests were due in the observation."""
        windows = self.requests.scheduled_window
        due: BoolArray = np.asarray((windows >= 0) & (windows < self.series.first + len(self.series.start_s)))
        return due


def findings_of(m: Measurement) -> Findings:
    """Return every figure that applies to a run."""
    caused = _episodes(m)
    found = [_incidents(m, episode) for episode in caused]
    incidents = [incident for some in found for incident in some]
    steady = m.series.observed & ~disturbed(m.series, incidents, _linger(m)) & ~_burst(m)
    dispersion = dispersion_of(m.terms, m.baseline)
    findings = {
        **throughput_findings(m.series, m.baseline, m.generator, m.terms, dispersion),
        **_fluctuation(m, steady, dispersion),
        **availability_findings(m.series, m.baseline),
        **_latency(m),
        **_streams(m),
        **_recovery(m, caused, found),
    }
    findings = qualified(findings, m.terms)
    return {name: finding for name, finding in findings.items() if m.terms.baseline or name not in NEEDS_BASELINE}


def load_onset_s(m: Measurement) -> float | None:
    """Return when the load first left its steady state because of a fault, in s; None where it never did."""
    onsets = [incident.onset for episode in _episodes(m) for incident in _incidents(m, episode)]
    return min(onsets) * m.terms.window + float(m.series.start_s[0]) if onsets else None


def _episodes(m: Measurement) -> tuple[Episode, ...]:
    end_s = (m.series.first + len(m.series.start_s)) * m.terms.window
    return episodes(m.faults, end_s, (HOLD + REACH) * m.terms.window)


def _incidents(m: Measurement, episode: Episode) -> list[Incident]:
    if m.baseline is None:
        return []
    look = watch if m.terms.is_open_loop else rate_watch
    return incidents_of(m.series, look(m.series, m.baseline, m.terms.slo_latency), episode)


def _linger(m: Measurement) -> int:
    """Return for how many windows after an incident answers to its requests may still come in."""
    if m.baseline is None or math.isnan(m.baseline.log_latency.x0):
        return 0
    p95_s = math.exp(m.baseline.log_latency.x0) - LATENCY_RESOLUTION_S
    return math.ceil(p95_s / m.terms.window)


def _burst(m: Measurement) -> BoolArray:
    """Return the windows in which a change of the load added to it, or answers to that may still come in."""
    mask = np.zeros(len(m.series.start_s), np.bool_)
    for piece in m.terms.added if len(mask) else ():
        mask[m.series.index(piece.begin) : m.series.index(piece.end - AT_ONCE / 2) + _linger(m) + 1] = True
    return mask


def _fluctuation(m: Measurement, steady: BoolArray, dispersion: Dispersion | None) -> Findings:
    def own(limit: float) -> str:
        return m.calibration.objection_to_cv(limit, m.terms) if m.calibration else ""

    return fluctuation_findings(m.series.completed[steady], m.terms, dispersion, own)


def _latency(m: Measurement) -> Findings:
    due = m.due
    return latency_findings(m.requests.latency_s[due & m.requests.answered], int(due.sum()))


def _streams(m: Measurement) -> Findings:
    if m.streams is None:
        return {}
    span_s = float(m.series.observed.sum()) * m.terms.window
    return stream_findings(m.streams, m.requests.answered, m.due, m.zero, span_s)


def _recovery(m: Measurement, caused: tuple[Episode, ...], found: list[list[Incident]]) -> Findings:
    if not m.faults:
        return {}
    if m.baseline is None or not caused or not len(m.series.start_s):
        why = (
            "there is no baseline to recover to"
            if caused
            else "no fault was applied, so there is nothing to recover from"
        )
        return {name: missing(unit, why) for name, unit in RECOVERY.items()}
    recoveries = [recovery_of(m.series, some, e) for e, some in zip(caused, found, strict=True)]
    incidents = [i for some in found for i in some]
    return recovery_findings(m.series, m.baseline, incidents, recoveries, by_rate=not m.terms.is_open_loop)
