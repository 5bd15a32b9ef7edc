"""What the health probes saw, and when: their detection beside the load's own onset.

A probe is a small machine, as in Kubernetes (failureThreshold, successThreshold; HAProxy calls them fall and rise):

    up    -> down   `failure_threshold` checks in a row have failed
    down  -> up     `success_threshold` checks in a row were well

Checks count in the order in which they were due, and a result counts from when it and all before it are known: a check
that ran into its timeout is known late, as it is to a monitoring system. Of the run of failures that first took the
probe down after the fault was begun, and of the last run of good checks that brought it back:

    onset_at_s      the first failure of the run is known
    detected_at_s   the last failure of the threshold is known: a monitoring system would alert now
    recovered_at_s  the last good check of the threshold is known
    after_onset_s   detected_at_s - the load's onset (`incidents`), which has the resolution of one window

A failure that was known before the fault was begun never counts; where there is no fault, all is counted from the end
of the baseline, and a detection is a false alarm. `cancelled` and `unsent` are no answers, and
`local_resources` tells of this machine: they count neither as checks nor as failures.

A probe that was down before has nothing to detect, one that saw nothing may have died: the first
makes the run unknown, and so does one with rows missing, or with more than 1 % of its checks after the warm-up never
asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from chaos.clock import NS
from chaos.errors import RecordingError
from chaos.judge.requests import BoolArray, FloatArray
from chaos.judge.verdict import ProbeLine
from chaos.record.recording import Recording
from chaos.record.samples import Samples
from chaos.record.terms import ProbeTerms

NO_ANSWER = ("cancelled", "unsent", "local_resources")
UNASKED = 0.01


@dataclass(frozen=True)
class Turn:
    """The probe changed its mind: `began_s` is when the first check of the run was known, `at_s` the last."""

    down: bool
    began_s: float
    at_s: float


@dataclass(frozen=True)
class Sight:
    """What one probe saw, and a sentence for each thing that is wrong with it."""

    line: ProbeLine
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checks:
    """The checks of one probe in the order in which they were due: when each was known (s), and whether it was well."""

    known_s: FloatArray = field(default_factory=lambda: np.empty(0))
    well: BoolArray = field(default_factory=lambda: np.empty(0, np.bool_))


def sights_of(recording: Recording, begun_s: float, onset_s: float | None) -> tuple[Sight, ...]:
    """Return what each probe saw. `begun_s`: the first fault's begin, or 0; `onset_s`: the load's onset, if any."""
    return tuple(_sight(recording, probe, begun_s, onset_s) for probe in recording.terms.probes)


def probe_problems(recording: Recording, sights: Iterable[Sight]) -> tuple[str, ...]:
    """Return what is wrong with the probes of a run, their process first; nothing where the load never started."""
    if recording.zero is None:
        return ()
    return (*_process(recording), *(problem for sight in sights for problem in sight.problems))


def turns(checks: Checks, failure_threshold: int, success_threshold: int) -> Iterator[Turn]:
    """Yield each change of mind in order; a probe begins up."""
    down, began, run = False, 0.0, 0
    for known, well in zip(checks.known_s.tolist(), checks.well.tolist(), strict=True):
        if well != down:  # nothing new
            run = 0
            continue
        began, run = (known if run == 0 else began), run + 1
        if run == (success_threshold if down else failure_threshold):
            down, run = not down, 0
            yield Turn(down, began, known)


def _sight(recording: Recording, probe: ProbeTerms, begun_s: float, onset_s: float | None) -> Sight:
    try:
        samples = recording.checks(probe.name)
    except RecordingError as error:
        line = ProbeLine(name=probe.name, kind=probe.kind, n=0, failed=0)
        return Sight(line, (f"the probe {probe.name} left no samples: {error}; repeat the run",))
    checks = _checks(samples, recording.zero or 0)
    line = ProbeLine(name=probe.name, kind=probe.kind, n=len(checks.well), failed=int(np.sum(~checks.well)))
    problems = tuple(_gaps(samples, probe, recording))
    was_up, seen = _since(checks, probe, begun_s)
    if not was_up:
        return Sight(line, (*problems, _was_down(probe)))
    return Sight(line.model_copy(update=_times(seen, onset_s)), problems)


def _checks(samples: Samples, zero: int) -> Checks:
    rows = np.sort(samples.rows, order="scheduled", kind="stable")
    silent = [samples.errors.index(name) for name in NO_ANSWER if name in samples.errors]
    rows = rows[~np.isin(rows["error"], silent)]
    known: FloatArray = np.maximum.accumulate(rows["end"] - zero) / NS
    return Checks(known, np.asarray(rows["error"] == 0))


def _since(checks: Checks, probe: ProbeTerms, begun_s: float) -> tuple[bool, list[Turn]]:
    """Return whether the probe was up then, and its turns since.

    It begins anew then, so that no failure from before counts.
    """
    before = checks.known_s < begun_s
    thresholds = probe.failure_threshold, probe.success_threshold
    earlier = list(turns(Checks(checks.known_s[before], checks.well[before]), *thresholds))
    later = list(turns(Checks(checks.known_s[~before], checks.well[~before]), *thresholds))
    return not (earlier and earlier[-1].down), later


def _times(seen: list[Turn], onset_s: float | None) -> dict[str, float | None]:
    if not seen:
        return {}
    first, last = seen[0], seen[-1]
    return {
        "onset_at_s": first.began_s,
        "detected_at_s": first.at_s,
        "recovered_at_s": None if last.down else last.at_s,
        "after_onset_s": None if onset_s is None else first.at_s - onset_s,
    }


def _process(recording: Recording) -> Iterator[str]:
    if not recording.terms.probes:
        return
    ended = recording.named("probes.ended")
    if not ended:
        yield "the health probes were never seen to end: they may have died with rows unwritten; repeat the run"
    elif status := ended[-1]["status"]:
        yield f"the health probes ended with status {status}, 0 is required: see probes.log, and repeat the run"


def _gaps(samples: Samples, probe: ProbeTerms, recording: Recording) -> Iterator[str]:
    terms, ended = recording.terms, recording.named("run.ended")
    due = math.ceil((terms.warmup + terms.baseline + terms.observe) / probe.every - 1e-6)
    if len(samples.rows) < due and ended and ended[-1]["outcome"] == "done":  # else that is what is said of the run
        yield (
            f"the probe {probe.name} has {len(samples.rows)} checks, {due} were due: it ended early or rows were lost; "
            "repeat the run"
        )
    rows = samples.rows[samples.rows["scheduled"] - (recording.zero or 0) >= -terms.baseline * NS]
    for error, why in (
        (
            "unsent",
            "were never asked, since this machine came to them too late: give it a free core or ask less often",
        ),
        ("local_resources", "could not be asked by this machine: see that the program is there, and the open files"),
    ):
        count = int(np.sum(rows["error"] == samples.errors.index(error))) if error in samples.errors else 0
        if count > UNASKED * len(rows):
            yield f"{count} of {len(rows)} checks of the probe {probe.name} {why}"


def _was_down(probe: ProbeTerms) -> str:
    return (
        f"the probe {probe.name} said that its target was down before anything was done, so it could detect nothing: "
        "mend the service, or what the probe asks, and repeat the run"
    )
