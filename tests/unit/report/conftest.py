from __future__ import annotations

from pathlib import Path

import pytest

from chaos.judge.series import Series, series_of
from chaos.record.recording import Recording
from tests.unit.report import report_examples


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording.open(report_examples.write_recording(tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture(scope="session")
def series(recording: Recording) -> Series:
    return series_of(recording)


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).with_name("golden")
