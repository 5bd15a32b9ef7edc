"""Whether a closed loop was what it was meant to be: asked before any figure is believed.

No rate is offered in a closed loop and nothing is due, so nothing can be late or unsent. What was promised is a number
of users and of processes. The load is sound unless

    no request was recorded
    the users were not all there when the baseline began, or did not all stay
    fewer processes sent requests than were asked for
    a worker took too much of a core, or its event loop was held up: as of our own load (`generator`)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chaos.clock import NS
from chaos.judge.generator import Gate, strain, used
from chaos.judge.requests import Requests
from chaos.judge.verdict import Generator
from chaos.record.crew import Crew, read_crew
from chaos.record.recording import Recording


def closed_gate(recording: Recording, requests: Requests, begin: int, end: int) -> Gate:
    """Judge the load over windows `[begin, end)`, counted from zero."""
    sent = (requests.scheduled_window >= begin) & (requests.scheduled_window < end)
    span_s, n = (end - begin) * recording.terms.window, int(sent.sum())
    problems = (*_problems(recording, n, begin), *strain(recording.usage, recording.terms))
    achieved = n / span_s if span_s else 0.0
    generator = Generator(
        loop="closed", offered_rate=None, achieved_rate=achieved, **used(recording.usage), sound=not problems
    )
    return Gate(generator, problems)


def _problems(recording: Recording, n: int, begin: int) -> Iterator[str]:
    if n == 0:
        yield "no request was recorded: see Locust's logs in the recording for why no user sent any"
        return
    crew = read_crew(recording.path)
    if crew is None:
        yield "Locust's master left no word of its users, so it ended before its time: see locust-master.log"
        return
    yield from _users(crew, (recording.zero or 0) + int(begin * recording.terms.window * NS))
    senders, wanted = len(np.unique(recording.samples.rows["worker"])), min(crew.workers, crew.users)
    if senders < wanted:
        yield f"{crew.workers} workers were asked for and {senders} sent requests: see the workers' logs"


def _users(crew: Crew, baseline: int) -> Iterator[str]:
    late_s = ((crew.complete or 0) - baseline) / NS
    if crew.complete is None:
        yield f"{crew.users} users were asked for and never all there: lengthen timeline.warmup or start them faster"
    elif late_s > 0:
        yield (
            f"the last of {crew.users} users started {late_s:.3g} s into the baseline, none may: lengthen "
            "timeline.warmup or start them faster"
        )
    if crew.fewest is not None and crew.fewest < crew.users:
        yield f"only {crew.fewest} of {crew.users} users stayed: see Locust's logs for why the others left"
