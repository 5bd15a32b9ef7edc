"""What the probes show while they run: the same that `judge` finds in their samples afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chaos.judge.probes import Checks, turns
from probes.errors import ErrorKind
from probes.health import State, read_states
from probes.health.__main__ import main
from probes.health._live import LiveStates, Tally
from tests.unit.probes import oracle_server
from tests.unit.probes.running_probes import plan_for, planned

KINDS = st.sampled_from(
    [ErrorKind.OK, ErrorKind.OK, ErrorKind.TIMEOUT, ErrorKind.UNHEALTHY, ErrorKind.UNSENT, ErrorKind.LOCAL_RESOURCES]
)


@given(st.lists(st.tuples(KINDS, st.integers(1, 40))), st.integers(1, 4), st.integers(1, 4))
def test_the_state_is_the_one_that_judge_finds(checks: list[tuple[ErrorKind, int]], fall: int, rise: int) -> None:
    """The check that is due at k takes some time, so that they end in another order than they began."""
    tally = Tally(fall, rise)
    ends = [(index + took, index, kind) for index, (kind, took) in enumerate(checks)]
    for at, index, kind in sorted(ends):
        tally.ended(index, kind, at)
    answers = [(at, kind) for at, _, kind in ends if kind not in (ErrorKind.UNSENT, ErrorKind.LOCAL_RESOURCES)]
    known = np.maximum.accumulate(np.array([at for at, _, _ in ends], dtype=float)) if ends else np.empty(0)
    silent = np.array([kind in (ErrorKind.UNSENT, ErrorKind.LOCAL_RESOURCES) for _, _, kind in ends], dtype=bool)
    well = np.array([kind is ErrorKind.OK for _, _, kind in ends], dtype=bool)
    seen = list(turns(Checks(known[~silent], well[~silent]), fall, rise))
    expected = int(seen[-1].at_s) if seen and seen[-1].down else None
    assert tally.state.down_since == expected
    assert tally.state.last == (answers[-1][1] if answers else None)


def test_a_state_is_shown_to_who_reads_the_file(tmp_path: Path) -> None:
    file = tmp_path / "live.bin"
    assert read_states(file) is None
    file.write_bytes(b"torn")
    assert read_states(file) is None
    file.unlink()
    states, never = LiveStates(file, 2), State(None, None, None)
    assert read_states(file) == (never, never)
    down = State(5, 7, ErrorKind.UNHEALTHY)
    states.show(1, down)
    assert read_states(file) == (never, down)
    states.show(1, State(None, 9, ErrorKind.OK))
    assert read_states(file) == (never, State(None, 9, ErrorKind.OK))


def test_the_process_shows_its_probes(tmp_path: Path) -> None:
    with oracle_server.running() as oracle:
        plan = plan_for(
            tmp_path,
            planned("http", name="well", url=oracle.url("/ok"), every=0.1),
            planned("tcp", name="gone", address="127.0.0.1:1", every=0.1, failure_threshold=2),
            duration=0.5,
            lead=300_000_000,
        ).model_copy(update={"live": str(tmp_path / "live.bin")})
        plan.write(tmp_path / "plan.json")
        assert main([str(tmp_path / "plan.json")]) == 0
    well, gone = read_states(tmp_path / "live.bin") or ()
    assert (well.down_since, well.last) == (None, ErrorKind.OK)
    assert gone.last is ErrorKind.CONNECT_REFUSED
    assert gone.down_since is not None and gone.known is not None
    assert plan.start + 100_000_000 <= gone.down_since < gone.known < time.monotonic_ns()
