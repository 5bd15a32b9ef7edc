"""Health probes: what a monitoring system would ask beside the load, and what became of each question.

Every module here without a leading underscore is one kind of probe: a frozen model that is its own parameters, and
whose `check` asks once. All probes of a run live in one process, `python -m probes.health PLAN.json`:

    _probe     what a probe is, and the outcome of a check
    _plan      what the process is to do; JSON in and out (the caller writes it)
    _asking    one probe on its schedule: each check a row of its samples
    _live      what each probe says now, for who acts on it
    _failure   an exception as the kind of failure it is
    _address   `host:port`, taken apart
    __main__   the process around all this

A probe is an open loop like the load: its k-th check is due at start + k * every, however the earlier ones fared, so a
target that answers slowly shows as slow samples and never as fewer questions. A check ends within the probe's
`timeout`, and `timeout` is at most 100 times `every`: that bounds how many can be out at once. A check that this
process could not begin before the next one was due is not asked at all and recorded as `unsent`; asked later, it would
tell of another moment, and all of them together would be a burst.

The samples are those of the load (`probes.samples`), one file a probe, with the one class "check". A check is well when
its `error` is `ok`; `unhealthy` is an answer that says no. `status` is the kind's own: HTTP status, exit status.
"""

from probes.health._live import State, read_states
from probes.health._plan import HealthPlan, PlannedProbe
from probes.health._probe import Mark, Outcome, Probe, Seconds, Target

__all__ = ["HealthPlan", "Mark", "Outcome", "PlannedProbe", "Probe", "Seconds", "State", "Target", "read_states"]
