"""Whether the run was what it was meant to be, from its events: did it end, was the fault there, is it gone.

Each problem is a sentence that says what was found and what to do. Any problem makes the verdict unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

from chaos.clock import NS
from chaos.judge.verdict import FaultLine
from chaos.record.events import Event
from chaos.record.recording import Recording
from chaos.record.terms import Terms

REPEAT = "repeat the run"
CLOCK_SHARE = 0.10
CLOCK = 0.005  # s


def run_problems(recording: Recording) -> tuple[str, ...]:
    """Return what went wrong with the run as a whole and with its load process."""
    return (*_end(recording), *_load(recording), *_shards(recording), *_clocks(recording))


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
    broken = recording.named("abort")
    if not broken:  # no guard of the experiment: a fuse or a lock that the run had to hold was gone
        return f"the run was stopped: {why}; find out who let go there, or whether the host was booted, and {REPEAT}"
    if broken[-1].get("blind"):
        return (
            f"the run was aborted since its guard `{broken[-1]['condition']}` was blind: {broken[-1].get('why')}; a "
            f"guard that can't be told is none: mend what it asks, and {REPEAT}"
        )
    named = "`, `".join(str(e["condition"]) for e in broken)
    found = f", {broken[-1]['why']}" if broken[-1].get("why") else ""
    return f"the run was aborted by its guard `{named}`{found}: make the fault milder, or relax the guard"


def _load(recording: Recording) -> tuple[str, ...]:
    if recording.zero is None:
        return (f"the load was never started, so nothing was measured: see the events before, and {REPEAT}",)
    ended = recording.named("load.ended")
    if not ended:
        return (f"the load process was never seen to end: it may have died with rows unwritten; {REPEAT}",)
    status = ended[-1]["status"]
    return (f"the load process ended with status {status}, 0 is required: see its log, and {REPEAT}",) if status else ()


def _shards(recording: Recording) -> Iterator[str]:
    """Yield which arrivals went with each process that died over its share of the load."""
    for e in recording.named("load.shard_lost"):
        died = f"shard {e['worker'] + 1} of {e['workers']} on {e['host']} died after {_s(e['died'] - e['started'])}"
        if not e["arrivals"]:
            yield f"{died}: no arrival is lost; {REPEAT}"
            continue
        numbers = ", ".join(map(_grouped, e["numbers"]))
        more = ", ..." if e["arrivals"] > len(e["numbers"]) else ""
        yield (
            f"{died}: {_grouped(e['arrivals'])} arrival(s) are lost, numbers {numbers}{more}, due between "
            f"{_s(e['first'] - e['started'])} and {_s(e['last'] - e['started'])} of the load; {REPEAT}"
        )


def _clocks(recording: Recording) -> Iterator[str]:
    """Yield each clock of a generator that is not known well enough to say when its requests were sent."""
    measured = recording.named("load.clock")
    limit = clock_limit_s(recording.terms)
    for before in (e for e in measured if e["when"] == "before"):
        after = [e for e in measured if e["when"] == "after" and e["worker"] == before["worker"]]
        error = max(before["uncertainty_ns"], *(_drifted(before, e) for e in after), 0) / NS
        if error > limit:
            yield (
                f"the clock of {before['host']} (shard {before['worker'] + 1}) is known to {error * 1e3:.3g} ms, at "
                f"most {limit * 1e3:.3g} ms is allowed: use generators that are nearer, or whose clocks drift less"
            )


def clock_limit_s(terms: Terms) -> float:
    """Return how well a generator's clock must be known, in s: 10 % of the smallest SLO, else 5 ms."""
    return min((CLOCK_SHARE * slo for slo in (terms.slo_latency, terms.slo_ttft, terms.slo_tpot) if slo), default=CLOCK)


def _drifted(before: Event, after: Event) -> int:
    """Return by how many ns the clock may be off at the end, when it is taken to be what it was before."""
    return int(abs(after["offset_ns"] - before["offset_ns"]) + after["uncertainty_ns"])


def _s(ns: int) -> str:
    return f"{ns / NS:.1f} s"


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


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
