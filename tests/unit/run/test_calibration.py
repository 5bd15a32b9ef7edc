"""The machine's own load generator: measured for real, kept, and what is refused because of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import InputError, Refusal
from chaos.overlays import RatePiece
from chaos.record.calibration import Calibration, OwnFluctuation
from chaos.record.terms import Budget, Terms
from chaos.run import calibration
from chaos.run.calibration import calibrate, path_of, refuse_unmeasurable, store, stored, this_machine

OWN = (OwnFluctuation(rate=2_000, window_s=1, n=10, cv=0.002), OwnFluctuation(rate=20_000, window_s=1, n=10, cv=0.004))
KNOWN = Calibration(measured="2026-11-24T08:00:00+00:00", machine=this_machine(), ceiling=40_000, fluctuation=OWN)


def terms(rate: float, *budgets: Budget, window: float = 1.0) -> Terms:
    return Terms(name="x", rate=rate, warmup=0, baseline=0, observe=30, window=window, budgets=budgets)


def cv(limit: float) -> Budget:
    return Budget(name="qps_cv", limit=limit)


def test_the_null_server_answers_whatever_comes() -> None:
    with calibration._null_server() as url, socket.create_connection(("127.0.0.1", int(url[17:-1]))) as client:
        client.settimeout(10)
        for part in (b"GET / HTTP/1.1\r\nHos", b"t: x\r\n\r\n", b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nGE\r\n"):
            client.sendall(part)
        client.sendall(b"GET /b HTTP/1.1\r\n\r\n" * 3)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        received = b""
        while len(received) < 5 * len(answer):
            received += client.recv(4096)
        assert received == answer * 5
        client.sendall(b"220 mail\r\n\r\n")
        assert client.recv(1) == b""


def test_a_calibration_is_measured_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, float] = {"_FIRST": 200.0, "_HIGHEST": 400.0, "_STEP": 0.2, "_WINDOWS": 2, "DELAY": 10.0}
    for name, value in small.items():
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert stored() is None
    said: list[str] = []
    found = calibrate(said.append)
    assert (found.machine, found.ceiling) == (this_machine(), 400)
    assert [(own.rate, own.n) for own in found.fluctuation] == [(200, 2)]
    assert 0 <= found.fluctuation[0].cv < 0.5
    assert len(said) == 3
    assert store(found).is_relative_to(tmp_path / "gameday")
    assert stored() == found
    path_of(this_machine()).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="writes it anew"):
        stored()


class FakeBench(calibration._Bench):
    """Keeps every rate up to a capacity; sends nothing."""

    capacity = 0.0

    def _kept(self, rate: float) -> bool:
        return rate <= self.capacity


def silent(_: str) -> None: ...


@given(st.floats(100, 500_000))
def test_the_search_finds_the_capacity_to_a_quarter_of_an_octave_from_below(capacity: float) -> None:
    bench = FakeBench(Path(), "", silent)
    bench.capacity = capacity
    coarse = capacity < 4_000  # far below what any machine keeps, an octave will do
    found = bench.ceiling()
    assert found <= capacity + 0.5
    assert found >= capacity / (2 if coarse else 2**0.25) - 0.5


@pytest.mark.parametrize(
    ("rate", "expected"), [(1, 0.002), (2_000, 0.002), (6_000, 0.002), (7_000, 0.004), (10**6, 0.004)]
)
def test_the_entry_nearest_by_ratio_speaks_for_a_rate(rate: float, expected: float) -> None:
    assert KNOWN.nearest(rate).cv == expected


MEASURABLE: dict[str, Callable[[], Terms]] = {
    "coarser than the generator": lambda: terms(2_000, cv(0.002)),
    "windows longer than were calibrated": lambda: terms(2_000, cv(0.001), window=2.0),
    "the ceiling itself": lambda: terms(40_000),
}


@pytest.mark.parametrize("case", MEASURABLE)
def test_what_can_be_measured_is_not_refused(case: str) -> None:
    refuse_unmeasurable(MEASURABLE[case](), KNOWN)
    refuse_unmeasurable(terms(10**9, cv(1e-9)), None)  # nothing is known of an uncalibrated machine


def test_what_can_not_be_measured_is_refused_all_at_once() -> None:
    host = this_machine().hostname
    with pytest.raises(Refusal) as refusal:
        refuse_unmeasurable(terms(50_000, Budget(name="qps", limit=1), cv(0.003)), KNOWN)
    assert str(refusal.value).splitlines() == [
        f"load.arrivals.rate: 50,000/s is above the 40,000/s that the generator of {host} can keep with 1 of "
        "its processes (measured 2026-11-24 against a null server): lower the rate, share the load between more "
        "processes or machines, or calibrate again (gameday probe --calibrate)",
        f"budgets.qps_cv: 0.003 is below the 0.004 that the generator of {host} wavers by itself (measured 2026-11-24 "
        "at 20,000/s against a null server): allow more, or measure from a quieter machine and calibrate it (gameday "
        "probe --calibrate)",
    ]


def test_processes_keep_together_what_one_can_not_as_far_as_there_are_cores() -> None:
    known = KNOWN.model_copy(update={"machine": this_machine().model_copy(update={"cores": 2})})
    refuse_unmeasurable(terms(80_000), known, processes=2)
    with pytest.raises(Refusal, match="above the 80,000/s"):
        refuse_unmeasurable(terms(80_001), known, processes=3)


def test_the_highest_of_the_steps_must_be_kept() -> None:
    ramp = RatePiece(begin=0, end=30, first=100, last=40_001)
    with pytest.raises(Refusal, match="40,001/s is above"):
        refuse_unmeasurable(terms(20_000).model_copy(update={"profile": (ramp,)}), KNOWN)


def test_the_state_folder_is_made_closed_to_others_under_any_umask() -> None:
    own = OwnFluctuation(rate=100.0, window_s=1.0, n=3, cv=0.1)
    known = Calibration(measured="2026-01-01", machine=this_machine(), ceiling=1000.0, fluctuation=(own,))
    former = os.umask(0)
    try:
        folder = store(known).parents[1]
    finally:
        os.umask(former)
    assert folder.name == "gameday"
    assert folder.stat().st_mode & 0o777 == 0o700
