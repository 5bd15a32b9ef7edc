"""What the writer puts into the file, the reader of recordings gets out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chaos.record.samples import read_samples
from probes.errors import NAMES
from probes.samples import BLOCK, HEADER, ROW, ChunkFile, SampleFile


def test_the_recording_s_reader_reads_every_row(tmp_path: Path) -> None:
    count = BLOCK // ROW.size + 5  # more than one block
    file = SampleFile(tmp_path / "samples.bin", ["hot", "cold"], worker=3)
    for index in range(count):
        file.append(index, index + 1, index + 2, 2**62 + index, 2**40, 599, index % 2, 8, 77, 20, 19)
    assert file.rows == count
    file.close()
    samples = read_samples(tmp_path / "samples.bin")
    assert (samples.classes, samples.errors) == (("hot", "cold"), NAMES)
    assert len(samples.rows) == count
    assert samples.rows[-1].tolist() == (
        count - 1,
        count,
        count + 1,
        2**62 + count - 1,
        2**40,
        77,
        20,
        19,
        599,
        (count - 1) % 2,
        3,
        8,
    )


def test_chunks_longer_than_a_block_come_out_whole_and_in_order(tmp_path: Path) -> None:
    file = ChunkFile(tmp_path / "chunks.bin")
    file.append([1, 2])
    file.append([])
    file.append(range(3, BLOCK // 4))
    assert file.rows == BLOCK // 4 - 1
    file.close()
    received = np.fromfile(tmp_path / "chunks.bin", "<i8", offset=HEADER)
    assert received.tolist() == list(range(1, BLOCK // 4))


def test_no_rows_is_a_header_alone(tmp_path: Path) -> None:
    SampleFile(tmp_path / "samples.bin", ["default"]).close()
    assert (tmp_path / "samples.bin").stat().st_size == HEADER
    assert len(read_samples(tmp_path / "samples.bin").rows) == 0


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "samples.bin").write_bytes(b"measured before")
    with pytest.raises(FileExistsError):
        SampleFile(tmp_path / "samples.bin", ["default"])
    assert (tmp_path / "samples.bin").read_bytes() == b"measured before"


def test_names_too_long_for_the_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="4095 fit"):
        SampleFile(tmp_path / "samples.bin", ["x" * 5000])
