"""Parts of a load made one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.record.samples import read_samples
from probes.merge import Part, merge
from probes.samples import SampleFile


def _part(folder: Path, worker: int, rows: int, classes: list[str] | None = None) -> Path:
    path = folder / f"{worker}.bin"
    file = SampleFile(path, classes or ["a"], worker)
    for row in range(rows):
        file.append(1000 + row, 2000, 0, 3000, 17, 200, 0, 0)
    file.close()
    return path


def test_rows_keep_everything_but_the_clock_they_were_stamped_by(tmp_path: Path) -> None:
    parts = [Part(_part(tmp_path, 0, 3)), Part(_part(tmp_path, 1, 2), offset=500)]
    assert merge(parts, tmp_path / "all.bin") == 5
    rows = read_samples(tmp_path / "all.bin").rows
    assert rows["scheduled"].tolist() == [1000, 1001, 1002, 500, 501]
    assert rows["end"].tolist() == [3000] * 3 + [2500] * 2
    assert (rows["first"] == 0).all()  # never happened, on any clock
    assert rows["worker"].tolist() == [0, 0, 0, 1, 1]
    assert set(rows["bytes"].tolist()) == {17}


def test_a_torn_last_row_is_left_out(tmp_path: Path) -> None:
    torn = _part(tmp_path, 0, 2)
    with torn.open("ab") as file:
        file.write(b"half a row")
    assert merge([Part(torn), Part(_part(tmp_path, 1, 1))], tmp_path / "all.bin") == 3
    assert read_samples(tmp_path / "all.bin").rows["scheduled"].tolist() == [1000, 1001, 1000]


def test_parts_of_different_loads_are_refused(tmp_path: Path) -> None:
    parts = [Part(_part(tmp_path, 0, 1)), Part(_part(tmp_path, 1, 1, ["b"]))]
    with pytest.raises(ValueError, match="2 different headers"):
        merge(parts, tmp_path / "all.bin")
