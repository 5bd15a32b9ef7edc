"""How much QPS fluctuates about its level, with the noise of the arrivals taken out.

It takes counts of answered requests per window, N_i, of a *steady* span: a step from 1200 to 800 is a level shift and
not fluctuation, so windows of an incident are left out (`figures` does it) and show in the dip instead. So are those of
a burst of the load, which shifts the level by intent.

    CV_raw   = s / m                               m mean, s^2 sample variance of N_i
    CV_noise = sqrt(F0 / m)                        F0, variance-to-mean ratio without fluctuation: see `dispersion`
    CV_real  = sqrt(max(0, s^2 - F0 * m)) / m
    p        = P(chi2(n-1) >= (n-1) s^2 / (F0 m))  dispersion test (Fisher 1950): so much by the arrivals alone
                                                   (F test with n0 - 1 where F0 was measured over n0 windows)

A CV is comparable only with its window, n and F0 beside it: a steady service probed at 20/s shows a raw CV of 0.22.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from chaos.judge.dispersion import Dispersion
from chaos.judge.finding import Finding, Findings, missing
from chaos.judge.requests import FloatArray, IntArray
from chaos.judge.verdict import Figure
from chaos.record.terms import Terms

FEWEST = 7
"""With fewer windows the standard error of a variance is so large that no limit can be resolved (see `doubt`)."""
CHANCE = 0.05
CLEAR = 1 / 3
"""Sampling noise up to this share of a limit hardly touches it: 225 requests a window for a limit of 0.2."""


@dataclass(frozen=True)
class Fluctuation:
    """Coefficients of variation (dimensionless) of `n` counts with mean `m`; `p` is 0 for paced arrivals that vary.

    `noise_windows` is over how many windows F0 was measured, where it was.
    """

    n: int
    mean: float
    cv_raw: float
    cv_noise: float
    cv_real: float
    p: float
    noise_windows: int | None = None

    def doubt(self, limit: float) -> str:
        """Return why a limit on the real CV can't be judged from this many windows of this many requests, or "".

        The variance estimate has a relative standard error of sqrt(2 / (n-1)). Where the truth *at* the limit could not
        be told from no fluctuation at all (one-sided 95 %), the measurement does not resolve the limit. Nor is a limit
        broken by what the dispersion test leaves to the arrivals. A noise that was itself measured adds its own error.
        """
        error = (limit**2 + self.cv_noise**2) * math.sqrt(2 / (self.n - 1))
        if self.noise_windows is not None:
            error = math.hypot(error, self.cv_noise**2 * math.sqrt(2 / (self.noise_windows - 1)))
        blurred = 1.645 * error >= limit**2
        if not blurred and (self.cv_real <= limit or self.p < CHANCE):
            return ""
        return (
            f"{self.n} windows of {self.mean:.0f} requests carry a sampling noise of {self.cv_noise:.2g} and can't "
            f"resolve a limit of {limit:g} (dispersion test p = {self.p:.2g}): {self.advice(limit)}"
        )

    def advice(self, limit: float) -> str:
        """Return how many requests a window would make the noise small beside a limit."""
        wanted = self.mean * (self.cv_noise / (CLEAR * limit)) ** 2 if limit > 0 else math.inf
        if wanted <= self.mean:
            return "observe for longer"
        return f"raise the rate or widen the window to {wanted:.0f} requests a window, or observe for longer"


def fluctuation(counts: IntArray | FloatArray, dispersion: float, noise_windows: int | None = None) -> Fluctuation:
    """Return the fluctuation of counts per window; `dispersion` is F0. ValueError for fewer than 7 or all 0."""
    n, mean = len(counts), float(np.mean(counts)) if len(counts) else 0.0
    if n < FEWEST or mean == 0:
        raise ValueError(f"a fluctuation needs at least {FEWEST} windows and a request; got {n} with mean {mean:g}")
    variance = float(np.var(counts, ddof=1))
    noise = dispersion * mean
    return Fluctuation(
        n=n,
        mean=mean,
        cv_raw=math.sqrt(variance) / mean,
        cv_noise=math.sqrt(noise) / mean,
        cv_real=math.sqrt(max(0.0, variance - noise)) / mean,
        p=_chance(variance / noise, n, noise_windows) if noise else float(variance == 0),
        noise_windows=noise_windows,
    )


def _chance(ratio: float, n: int, windows: int | None) -> float:
    """Return the chance of a variance `ratio` times the noise's by noise alone."""
    if windows is None:
        return float(stats.chi2.sf((n - 1) * ratio, n - 1))
    return float(stats.f.sf(ratio, n - 1, windows - 1))


def fluctuation_findings(
    counts: IntArray | FloatArray,
    terms: Terms,
    dispersion: Dispersion | None,
    own: Callable[[float], str] = lambda _: "",
) -> Findings:
    """Return `qps_cv_raw`, `qps_cv_noise` and `qps_cv_real` over the counts of steady windows.

    `own(limit)` says why the generator itself wavers too much for a limit, or "".
    """
    none = "the noise of a closed loop is measured over its baseline, and there is none"
    why = _unfit(counts, terms) if dispersion else none
    if why or dispersion is None:
        return {name: missing("1", why) for name in ("qps_cv_raw", "qps_cv_noise", "qps_cv_real")}
    found = fluctuation(counts, dispersion.f0, dispersion.windows)

    def figure(value: float) -> Figure:
        return Figure(value=value, unit="1", window_s=terms.window, n=found.n)

    return {
        "qps_cv_raw": Finding(figure(found.cv_raw)),
        "qps_cv_noise": Finding(figure(found.cv_noise)),
        "qps_cv_real": Finding(
            figure(found.cv_real), _beyond(dispersion), doubt=lambda limit: own(limit) or found.doubt(limit)
        ),
    }


def _unfit(counts: IntArray | FloatArray, terms: Terms) -> str:
    """Return why no fluctuation can be told, or "". That of a trace is told: it contains the trace's own."""
    if terms.process != "trace" and not terms.offered_evenly(0, terms.observe):
        return "the steps of the load change the offered rate within the observation, so QPS moves by intent"
    if len(counts) < FEWEST:
        return f"{len(counts)} steady windows are too few, {FEWEST} are required: observe for longer"
    return "" if counts.any() else "no request was answered with success"


def _beyond(dispersion: Dispersion) -> str:
    if dispersion.windows is None:
        return ""
    return (
        "beyond the baseline's own: the load fixes no noise, so the variance-to-mean ratio of "
        f"{dispersion.f0:.3g} that the {dispersion.windows} windows of the baseline have counts as noise"
    )
