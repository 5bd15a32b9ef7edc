"""A trace file: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.errors import PlanError
from probes.trace import Replay, Trace

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"


def trace(folder: Path, *rows: str, header: str = HEADER) -> Trace:
    """Write a synthetic trace of the form of Azure's."""
    path = folder / "synthetic.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return Trace(path)


def rows_of(found: Trace) -> list[tuple[int, int, int]]:
    return [row for block in found.blocks() for row in zip(*(column.tolist() for column in block), strict=True)]


@pytest.mark.parametrize(
    "times",
    [
        ("2023-11-16 18:15:46.6805900", "2023-11-16 18:15:48.1805901"),
        ("2023-11-16T18:15:46.680590Z", "2023-11-16 18:15:48.1805901+00:00"),
        ("10.5", "12.0000001"),
        ("0", "1.5000001"),
    ],
)
def test_timestamps_are_dates_or_seconds(tmp_path: Path, times: tuple[str, str]) -> None:
    found = rows_of(trace(tmp_path, f"{times[0]},374,44", f"{times[1]},396,109"))
    assert found == [(0, 374, 44), (1_500_000_100, 396, 109)]


def test_columns_are_found_by_name_whatever_their_order_and_case(tmp_path: Path) -> None:
    header = "\ufeffgeneratedtokens, Model ,timestamp,CONTEXTTOKENS"
    assert rows_of(trace(tmp_path, "44,gpt,1.0,374", header=header)) == [(0, 374, 44)]


def test_lines_are_counted_across_blocks(tmp_path: Path) -> None:
    rows = [f"{second},1,1" for second in range(1500)]
    assert len(rows_of(trace(tmp_path, *rows))) == 1500
    rows[1200] = "5,1,1"
    with pytest.raises(PlanError, match=r"synthetic\.csv:1202: earlier than the row before; sort the rows by time"):
        rows_of(trace(tmp_path, *rows))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("now,1,1", "3: 'now,1,1' is no row of a trace"),
        ("2023-11-16 18:15:46,1,1", "2: timestamps are dates in some rows and seconds in others"),
        ("2,1", "3: '2,1' is no row of a trace"),
        ("2,1.5,1", "3: '2,1.5,1' is no row of a trace"),
        ("2,1,-1", "3: a number of tokens can't be negative"),
        ("0.5,1,1", "3: earlier than the row before"),
        ("2,99999999999999999999,1", "3: '2,99999999999999999999,1' is no row of a trace"),
        ("", "3: '' is no row of a trace"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(tmp_path: Path, row: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        rows_of(trace(tmp_path, "1,1,1", row, "3,1,1"))
    assert str(refused.value).startswith(f"{tmp_path}/synthetic.csv:{said}")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((), "a trace needs rows at two different times at least; found 0 rows"),
        (("1,1,1", "1,1,1"), "a trace needs rows at two different times at least; found 2 rows"),
    ],
)
def test_a_trace_without_a_rate_is_refused(tmp_path: Path, rows: tuple[str, ...], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        Replay.of(trace(tmp_path, *rows).path, None, None, 1.0, 0)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="can't be read: No such file"):
        Trace(tmp_path / "nowhere.csv").extent()
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="can't be read"):
        Trace(tmp_path / "binary.csv").extent()


def test_a_mistake_behind_what_is_replayed_is_nobodys_business_unless_the_mean_is_asked_for(tmp_path: Path) -> None:
    found = trace(tmp_path, *(f"{second},1,1" for second in range(1500)), "broken")
    assert len(list(Replay.of(found.path, None, None, 100, 0).rows())) == 1
    with pytest.raises(PlanError, match=r"synthetic\.csv:1502: 'broken' is no row"):
        Replay.of(found.path, "scale", 1.0, 100, 0)
