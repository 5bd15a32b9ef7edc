"""Streams of which every chunk is known: first token, pace, gaps and throughput come out exactly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import RecordingError
from chaos.judge import judge
from chaos.judge.requests import requests_of
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording
from chaos.record.samples import Samples
from chaos.record.terms import Terms
from probes.samples import ChunkFile, SampleFile
from probes.slo import Slo

from .scripted import NS, Script, terms, write

ZERO = 5_000 * NS
MS = NS // 1000
PLAIN = Script(rate=4, warmup=0, baseline=1, observe=10, slo=None, process="constant")
ROWS = np.dtype(
    [(n, "<i8") for n in ("scheduled", "sent", "end", "first_token")]
    + [(n, "<i4") for n in ("tokens", "chunks")]
    + [(n, "<i2") for n in ("status", "error")]
)


class Told:
    """Writes a recording of streams with the load's own writers; times in ms from zero."""

    def __init__(self, folder: Path, script: Script = PLAIN, **agreed: object) -> None:
        self.recording = write(replace(script, started=True), folder)
        plan = {"terms": terms(script) | {"stream": True} | agreed}
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        (folder / "samples.bin").unlink()
        self._samples = SampleFile(folder / "samples.bin", ["default"])
        self._chunks = ChunkFile(folder / "chunks.bin")

    def stream(self, at: float, chunks: Sequence[float], tokens: int, status: int = 200, error: int = 0) -> None:
        """Add a request due `at`; its answer ends with its last chunk, or 5 ms after it was due without one."""
        due, times = ZERO + round(at * MS), [ZERO + round(t * MS) for t in chunks]
        first, end = (times[0], times[-1]) if times else (0, due + 5 * MS)
        self._samples.append(due, due, first, end, 10, status, 0, error, first, tokens, len(times))
        self._chunks.append(times)

    def judged(self) -> Verdict:
        self._samples.close()
        self._chunks.close()
        return judge(Recording.open(self.recording.path))


def values(verdict: Verdict, *names: str) -> list[float | None]:
    return [verdict.figures[name].value for name in names]


def test_first_token_pace_gaps_and_throughput(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.stream(-500, [-400, 100, 200], tokens=6)  # due in the baseline: only two of its chunks count, for throughput
    told.stream(1000, [1100, 1140, 1160], tokens=3)
    told.stream(2000, [2200, 2230], tokens=7)  # several tokens a chunk: 30 ms between chunks, 5 ms a token
    told.stream(3000, [3300], tokens=1)  # one token has no pace
    told.stream(9000, [9100, 10_050], tokens=2)  # the last one comes after the observation
    verdict = told.judged()
    assert values(verdict, "ttft_p50_s", "ttft_p99_s") == pytest.approx([0.15, 0.297], rel=1e-6)
    assert values(verdict, "tpot_p50_s") == pytest.approx([0.03], rel=1e-6)  # of 30, 5 and 950 ms
    assert values(verdict, "itl_p50_s") == pytest.approx([0.035], rel=1e-6)  # of 40, 20, 30 and 950 ms
    assert values(verdict, "tokens_per_second") == pytest.approx([(4 + 3 + 7 + 1 + 1) / 10])
    assert [verdict.figures[n].n for n in ("ttft_p50_s", "tpot_p50_s", "itl_p50_s")] == [4, 3, 4]
    assert values(verdict, "latency_p50_s") == pytest.approx([0.265], rel=1e-6)  # still to the last byte


def test_survivors_do_not_stand_for_all(tmp_path: Path) -> None:
    budgets = {"ttft_p50": 1.0, "ttft_p99": 1.0, "tpot_p99": 1.0, "itl_p99": 1.0}
    told = Told(tmp_path, replace(PLAIN, budgets=budgets, rate=1))
    for i in range(-1, 10):
        broken = i == 3
        told.stream(1000 * i, [1000 * i + 10, 1000 * i + 20], 2, status=200, error=3 if broken else 0)
    told.stream(9500, [], 0)  # complete, with no token in it
    verdict = told.judged()
    assert {b.name: b.verdict for b in verdict.budgets} == {
        "ttft_p50": "pass",
        "ttft_p99": "fail",
        "tpot_p99": "fail",
        "itl_p99": "fail",
    }
    assert any("18.18% of the requests had no successful answer" in reason for reason in verdict.reasons)


def test_answers_of_one_token_lack_no_pace(tmp_path: Path) -> None:
    told = Told(tmp_path, replace(PLAIN, rate=1, budgets={"tpot_p99": 1.0}))
    for i in range(-1, 10):
        told.stream(1000 * i, [1000 * i + 10], 1)
    verdict = told.judged()
    assert verdict.figures["tpot_p99_s"].value is None
    assert verdict.budgets[0].verdict == "unknown"
    assert "tpot_p99: none of 10 requests was answered with two tokens or more" in verdict.reasons


def test_chunks_that_were_cut_off_give_no_figure(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.stream(1000, [1100, 1200], 2)
    told.stream(2000, [2100, 2200], 2)
    told.judged()
    whole = (tmp_path / "chunks.bin").read_bytes()
    (tmp_path / "chunks.bin").write_bytes(whole[:-12])  # a crash tears an entry too
    verdict = judge(Recording.open(tmp_path))
    assert values(verdict, "ttft_p50_s", "tpot_p50_s") == pytest.approx([0.1, 0.1])
    assert values(verdict, "itl_p50_s", "tokens_per_second") == [None, None]
    assert any("chunks.bin was cut short" in reason for reason in verdict.reasons)


def test_good_needs_every_limit(tmp_path: Path) -> None:
    told = Told(tmp_path, slo_latency=1.0, slo_ttft=0.1, slo_tpot=0.05)
    told.stream(1000, [1050, 1090], 2)
    told.stream(2000, [2200, 2210], 2)  # late to begin
    told.stream(3000, [3050, 3150], 2)  # slow to go on
    told.stream(4000, [4050, 4090, 5010], 30)  # late to end
    assert told.judged().figures["goodput_ratio"].value == 0.25


def test_a_load_without_streams_has_no_such_figures(tmp_path: Path) -> None:
    script = Script(budgets={"ttft_p99": 1.0})
    verdict = judge(write(script, tmp_path))
    assert not any(name.startswith(("ttft", "tpot", "itl", "tokens")) for name in verdict.figures)
    assert any("the answers were not streamed" in reason for reason in verdict.reasons)


def test_a_chunks_file_of_something_else_is_damage(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.stream(1000, [1100], 1)
    told.judged()
    (tmp_path / "chunks.bin").write_bytes((tmp_path / "samples.bin").read_bytes())
    with pytest.raises(RecordingError, match="one column `received` was expected"):
        judge(Recording.open(tmp_path))


limits = st.one_of(st.none(), st.sampled_from([0.001, 0.05, 0.1, 0.3, 1.0]), st.floats(0.0005, 3))
instants = st.integers(0, 2_000).map(lambda ms: ms * MS)


@given(
    st.lists(st.tuples(instants, st.one_of(st.just(None), instants), st.integers(0, 40)), min_size=1, max_size=30),
    limits,
    limits,
    limits,
)
def test_good_is_what_the_load_calls_good(
    drawn: list[tuple[int, int | None, int]], latency: float | None, ttft: float | None, tpot: float | None
) -> None:
    slo = Slo(latency, ttft, tpot)
    rows = np.zeros(len(drawn), ROWS)
    for row, (took, token, tokens) in zip(rows, drawn, strict=True):
        first = 0 if token is None else ZERO + min(token, took)
        row["scheduled"], row["end"], row["first_token"], row["tokens"] = ZERO, ZERO + took, first, tokens
        row["status"] = 200
    agreed = Terms(
        name="x", rate=1, warmup=0, baseline=0, observe=10, slo_latency=latency, slo_ttft=ttft, slo_tpot=tpot
    )
    good = requests_of(Samples(rows, ("default",), ("ok",)), ZERO, agreed).good
    counted = [slo.met(*(int(row[n]) for n in ("scheduled", "end", "first_token", "tokens"))) for row in rows]
    assert good.tolist() == counted


@given(st.lists(st.lists(st.integers(1, 50), max_size=5), min_size=1, max_size=20), st.integers(0, 99))
def test_every_gap_belongs_to_one_request(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[list[int]], seed: int
) -> None:
    """Whatever the order and the lengths of streams, the gaps are those within streams and never those between."""
    told = Told(tmp_path_factory.mktemp("streams"))
    order = np.random.default_rng(seed).permutation(len(gaps)).tolist()
    for index in order:
        times = [1000 + index, *(1000 + index + np.cumsum(gaps[index])).tolist()]
        told.stream(1000, times, len(times))
    found = told.judged().figures["itl_p50_s"]
    expected = [gap / 1000 for stream in gaps for gap in stream]
    assert (found.n or 0) == len(expected)
    assert found.value == (pytest.approx(np.median(expected), rel=1e-6) if expected else None)
    assert found.value is None or math.isfinite(found.value)
