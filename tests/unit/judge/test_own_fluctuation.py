"""A CV finer than the generator's own can't be judged, also offline, from the recording alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.errors import RecordingError
from chaos.judge import judge
from chaos.judge.verdict import Verdict
from chaos.record.recording import Recording

from .scripted import Script, write

KNOWN: dict[str, Any] = {
    "version": 1,
    "measured": "2026-11-24T08:00:00+00:00",
    "machine": {"hostname": "probe-1", "cpu": "x", "cores": 2, "python": "3.11", "gameday": "0.1.0"},
    "ceiling": 40_000.0,
    "fluctuation": [{"rate": 2000.0, "window_s": 1.0, "n": 10, "cv": 0.004}],
}


def judged(folder: Path, limit: float, calibration: Any) -> Verdict:
    write(Script(rate=200, process="constant", warmup=0, baseline=0, observe=20, budgets={"qps_cv": limit}), folder)
    (folder / "meta.json").write_text(json.dumps({"calibration": calibration}))
    return judge(Recording.open(folder))


def test_a_budget_below_the_generators_own_cv_is_unknown(tmp_path: Path) -> None:
    verdict = judged(tmp_path, 0.003, KNOWN)
    assert verdict.verdict == "unknown"
    assert verdict.figures["qps_cv_real"].value is not None
    assert verdict.reasons == (
        "qps_cv: 0.003 is below the 0.004 that the generator of probe-1 wavers by itself (measured 2026-11-24 at "
        "2,000/s against a null server): allow more, or measure from a quieter machine and calibrate it (gameday "
        "probe --calibrate)",
    )


@pytest.mark.parametrize(("limit", "calibration"), [(0.2, KNOWN), (0.2, None)])
def test_a_coarser_budget_is_judged(tmp_path: Path, limit: float, calibration: Any) -> None:
    assert judged(tmp_path, limit, calibration).verdict == "pass"


def test_a_damaged_calibration_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="calibration can't be read"):
        judged(tmp_path, 0.2, {"ceiling": "high"})
