"""Whatever shards wrote, and wherever they were cut off, the merged files say what their whole rows said."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chaos.record.samples import read_samples
from probes.lost import lost
from probes.merge import Part, merge, merge_chunks
from probes.samples import HEADER, ROW, ChunkFile, SampleFile

TIMES = ("scheduled", "sent", "first", "end", "first_token")
instants = st.integers(0, 2**40)


@dataclass(frozen=True)
class Row:
    times: tuple[int, int, int, int, int]
    received: int
    chunks: tuple[int, ...]


rows = st.builds(
    Row, st.tuples(*[instants] * 5), st.integers(0, 2**40), st.lists(instants, max_size=4).map(tuple)
)  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """What one process wrote, by a clock that is `offset` ahead, and what of the ends of its files is missing."""

    rows: tuple[Row, ...]
    offset: int
    torn: int
    torn_chunks: int


shards = st.builds(
    Shard, st.lists(rows, max_size=6).map(tuple), st.integers(-(2**39), 2**39), st.integers(0, 3 * ROW.size),
    st.integers(0, 60),
)  # fmt: skip


def _stamp(time: int, offset: int) -> int:
    return time + offset if time else 0


def _write(folder: Path, worker: int, shard: Shard) -> Part:
    samples, chunks = SampleFile(folder / f"s{worker}", ["a"], worker), ChunkFile(folder / f"c{worker}")
    for row in shard.rows:
        scheduled, sent, first, end, token = (_stamp(time, shard.offset) for time in row.times)
        samples.append(scheduled, sent, first, end, row.received, 200, 0, 0, token, len(row.chunks), len(row.chunks))
        chunks.append([_stamp(time, shard.offset) for time in row.chunks])
    samples.close()
    chunks.close()
    for path, torn in ((folder / f"s{worker}", shard.torn), (folder / f"c{worker}", shard.torn_chunks)):
        with path.open("rb+") as file:
            file.truncate(max(HEADER, path.stat().st_size - torn))
    return Part(folder / f"s{worker}", shard.offset, folder / f"c{worker}")


def _kept(shard: Shard) -> list[tuple[Row, tuple[int, ...]]]:
    """Return the rows that are whole, each with its chunks: those not written are 0."""
    whole = max(0, len(shard.rows) * ROW.size - shard.torn) // ROW.size
    written = max(0, sum(len(row.chunks) for row in shard.rows) * 8 - shard.torn_chunks) // 8
    kept, used = [], 0
    for row in shard.rows[:whole]:
        there = max(0, min(len(row.chunks), written - used))
        kept.append((row, row.chunks[:there] + (0,) * (len(row.chunks) - there)))
        used += len(row.chunks)
    return kept


# a time that is not 0 must not become 0 by its clock: CLOCK_MONOTONIC is far from 0 wherever a load runs
def _is_possible(shard: Shard) -> bool:
    times = [time for row in shard.rows for time in (*row.times, *row.chunks)]
    return all(time == 0 or time + shard.offset != 0 for time in times)


@given(st.lists(shards.filter(_is_possible), min_size=1, max_size=4))
def test_merged_rows_are_those_of_the_shards_on_one_clock_each_with_its_own_chunks(parts: list[Shard]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = [_write(folder, worker, shard) for worker, shard in enumerate(parts)]
        expected = [(worker, *kept) for worker, shard in enumerate(parts) for kept in _kept(shard)]
        assert merge(written, folder / "all") == len(expected)
        total = sum(len(chunks) for _, _, chunks in expected)
        assert merge_chunks(written, folder / "chunks") == total
        merged = read_samples(folder / "all").rows
        received = np.frombuffer((folder / "chunks").read_bytes()[HEADER:], np.int64).tolist()
    ends = np.cumsum(merged["chunks"]).tolist()
    assert len(received) == total
    for at, (worker, row, chunks) in enumerate(expected):
        assert tuple(int(merged[name][at]) for name in TIMES) == row.times
        assert (merged["worker"][at], merged["bytes"][at]) == (worker, row.received)
        assert tuple(received[ends[at] - len(chunks) : ends[at]]) == chunks


@given(st.lists(st.integers(0, 40)), st.data())
def test_lost_and_recorded_arrivals_are_together_those_that_fell_due(due: list[int], data: st.DataObject) -> None:
    arrivals = [(number, time, 0) for number, time in enumerate(sorted(due))]
    kept = data.draw(st.lists(st.booleans(), min_size=len(due), max_size=len(due)))
    until = data.draw(st.integers(-1, 41))
    recorded = data.draw(st.permutations([time for (_, time, _), has in zip(arrivals, kept, strict=True) if has]))
    gone = lost(arrivals, np.array(recorded, np.int64), until)
    missing = sorted(time for (_, time, _), has in zip(arrivals, kept, strict=True) if not has and time <= until)
    assert (gone.arrivals if gone else 0) == len(missing)
    if gone:
        assert (gone.first, gone.last) == (missing[0], missing[-1])
        assert len(gone.numbers) == min(5, len(missing))
        assert [arrivals[number][1] for number in gone.numbers] == missing[:5]
