"""Reading the hosts before anything is touched: what a plan needs and what stands in its way, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chaos.contracts import Need, Target
from chaos.errors import ChaosError, Unreachable
from chaos.plan.plan import Plan, PlannedProbe
from chaos.plan.step import Step
from chaos.run.abort_query import unanswerable
from chaos.run.connect import controller, controller_home, side_by_side
from chaos.run.fuse import HOME, OWN_HOME
from chaos.run.health import instrument
from chaos.run.injector import read
from chaos.run.lock import NEEDS_FLOCK, HostLock
from chaos.spec.abort import QueryCondition

_ALWAYS = (
    Need("root", '[ "$(id -u)" = 0 ]', "run as root there, or set `become: sudo` and let sudo ask no password"),
    Need(
        "/run writable",
        f"mkdir -p {HOME} && [ -w {HOME} ]; s=$?; rmdir {HOME} 2>/dev/null; [ $s = 0 ]",
        "a tmpfs on /run",
    ),
    Need("/proc/uptime", "[ -r /proc/uptime ]", "a mounted /proc"),
    NEEDS_FLOCK,
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at on one host. `detail` says what was found and what to do when it is not fine."""

    host: str
    what: str
    fine: bool
    detail: str = ""


def preflight(plan: Plan, targets: Mapping[str, Target]) -> list[Finding]:
    """Look at every host of a plan, and whether this machine can ask its probes and guards; touches nothing."""
    steps = {name: [s for s in plan.steps if s.host == name] for name in targets}
    found = side_by_side(targets, lambda name: _look(targets[name], steps[name]))
    here = HostLock(controller(), "", "", 0, controller_home())
    asked = [*map(_can_ask, plan.probes), *(_can_guard(c) for c in plan.abort if isinstance(c, QueryCondition))]
    return [*(finding for findings in found for finding in findings), _lockout(here), *asked]


def _can_ask(probe: PlannedProbe) -> Finding:
    objection = instrument(probe).make().objection()
    return Finding("controller", f"probe {probe.name} can ask", objection is None, objection or "")


def _can_guard(condition: QueryCondition) -> Finding:
    why = unanswerable(condition)
    return Finding("controller", f"abort `{condition.text}` can be told", not why, why)


def _look(target: Target, steps: Sequence[Step]) -> list[Finding]:
    try:
        target.run("true", timeout=15)
    except Unreachable as error:
        return [Finding(target.name, "reachable", False, str(error))]
    found = [Finding(target.name, "reachable", True), *_needs(target, steps), *_ours(target)]
    return found + [_opinion(target, step) for step in steps] if all(f.fine for f in found) else found


def _needs(target: Target, steps: Sequence[Step]) -> list[Finding]:
    needs = dict.fromkeys([*_ALWAYS, *(need for step in steps for need in step.fault.needs)])
    script = "\n".join(f"if ({need.check}) >/dev/null 2>&1; then echo yes; else echo no; fi" for need in needs)
    answers = target.run(script).stdout.split()
    return [
        Finding(
            target.name,
            need.name,
            answer == "yes",
            "" if answer == "yes" else f"missing; it comes with: {need.package}",
        )
        for need, answer in zip(needs, answers, strict=True)
    ]


def _ours(target: Target) -> list[Finding]:
    """What runs before this one left: a lock, a lock-out, fuses."""
    lock = HostLock(target, "", "", 0)
    held = lock.held()
    looked = f"home={HOME}\n{OWN_HOME}own_home && {{ ls {HOME}/fuses 2>/dev/null || true; }}"
    seen = target.run(looked, check=False)
    names = seen.stdout.split()
    why = f"left by another run: {', '.join(names)}; `gameday heal` finishes them" if names else ""
    return [
        Finding(target.name, f"{HOME} is ours alone", seen.status == 0, seen.stderr.strip()),
        Finding(target.name, "no other run", held is None, f"held by {held}" if held else ""),
        _lockout(lock),
        Finding(target.name, "no fuse of ours", not names, why),
    ]


def _lockout(lock: HostLock) -> Finding:
    why = lock.lockout()
    return Finding(lock.target.name, "no panic", not why, why)


def _opinion(target: Target, step: Step) -> Finding:
    what = f"{step.fault.kind} can act"
    try:
        objection = step.fault.objection(read(target, step.fault.reading()))
    except ChaosError as error:
        return Finding(target.name, what, False, str(error))
    return Finding(target.name, what, objection is None, objection or "")
