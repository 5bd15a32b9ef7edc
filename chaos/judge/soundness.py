"""Whether the run was what it was meant to be, from its events: did it end, was the fault there, is it gone.

Each problem is a sentence that says what was found and what to do. Any problem makes the verdict unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.judge.verdict import FaultLine
from chaos.record.events import Event
from chaos.record.recording import Recording

REPEAT = "repeat the run"


def run_problems(recording: Recording) -> tuple[str, ...]:
    """Return what went wrong with the run as a whole and with its load process."""
    return (*_end(recording), *_load(recording))


def fault_problems(recording: Recording, lines: tuple[FaultLine, ...]) -> tuple[str, ...]:
    """Return what went wrong with each fault: not there, not there in full, or not seen gone."""
    return tuple(problem for line in lines for problem in _fault(recording, line))


def drift_of(recording: Recording) -> tuple[str, ...]:
    """Return each difference between a host before and after, as `host: what`."""
    return tuple(f"{e['host']}: {what}" for e in recording.named("host.drift") for what in e["what"])


def drift_problems(drift: tuple[str, ...]) -> tuple[str, ...]:
    """Return the problem that drift is, if there is any."""
    if not drift:
        return ()
    return (
        f"{len(drift)} difference(s) between the hosts before and after the run that the fault does not explain, none "
        "is allowed: see drift, and repeat the run on a quiet host",
    )


def stuck_of(recording: Recording) -> tuple[str, ...]:
    """Return a line for each undo that could not be verified, with the command to run by hand."""
    return tuple(
        f"{e['host']}: {e['fault']} could not be undone: {e['why']}; run by hand: {e['by_hand']}"
        for e in recording.named("fault.stuck")
    )


def _end(recording: Recording) -> tuple[str, ...]:
    ended = recording.named("run.ended")
    if not ended:
        return (f"the run never ended: its controller died or was killed; run `gameday heal`, then {REPEAT}",)
    outcome, why = ended[-1]["outcome"], ended[-1].get("why") or "no reason was given"
    return {
        "done": (),
        "aborted": (_abort(recording, why),),
        "interrupted": (f"the run was interrupted ({why}): {REPEAT}",),
    }.get(outcome, (f"the run failed: {why}; mend it and {REPEAT}",))


def _abort(recording: Recording, why: str) -> str:
    conditions = [str(e["condition"]) for e in recording.named("abort")]
    named = "`, `".join(conditions) or why
    return f"the run was aborted by its guard `{named}`: make the fault milder, or relax the guard"


def _load(recording: Recording) -> tuple[str, ...]:
    if recording.zero is None:
        return (f"the load was never started, so nothing was measured: see the events before, and {REPEAT}",)
    ended = recording.named("load.ended")
    if not ended:
        return (f"the load process was never seen to end: it may have died with rows unwritten; {REPEAT}",)
    status = ended[-1]["status"]
    return (f"the load process ended with status {status}, 0 is required: see its log, and {REPEAT}",) if status else ()


def _fault(recording: Recording, line: FaultLine) -> Iterator[str]:
    name = f"{line.kind or line.id} on {line.host}"
    if line.applied_at_s is None:
        yield f"{name} was armed and never applied: see the events, and {REPEAT}"
        return
    if not line.confirmed:
        why = _why_not(recording, line)
        yield f"the dose of {name} was not confirmed: {why}; a fault that did nothing shows nothing"
    if not line.reverted:
        yield f"{name} was never seen reverted: run `gameday heal`, then {REPEAT}"


def _why_not(recording: Recording, line: FaultLine) -> str:
    doses: list[Event] = [e for e in recording.named("fault.dose") if (e["fault"], e["host"]) == (line.id, line.host)]
    return (doses[-1].get("why_not") if doses else None) or "the reading taken after applying it does not show it"
