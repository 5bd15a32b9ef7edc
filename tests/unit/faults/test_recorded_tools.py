"""The conditions by which a fuse knows that mlnx_qos or a SONiC switch is as it was, on what those tools have printed.

The tools themselves are fakes: each prints what stands in the case.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).parents[2] / "cases" / "faults"
FAKES = {
    "mlnx_qos": {"mlnx_qos": "cat $SAYS"},
    "sonic": {"show": "sed '/^--watchdog/,$d' $SAYS", "pfcwd": "sed '1,/^--watchdog/d' $SAYS"},
}
LOADED = [
    (path, json.loads(path.read_text())) for kind in ("pfc", "ets") for path in sorted((CASES / kind).glob("*.json"))
]
ACTING = [
    pytest.param(case, id=path.stem) for path, case in LOADED if case["objection"] is None and "driver" in case["fault"]
]


@pytest.mark.parametrize("case", ACTING)
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_an_undo_is_known_to_be_done(case: dict[str, Any], shell: str, tmp_path: Path) -> None:
    driver = case["fault"]["driver"]
    for name, does in FAKES[driver].items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    says = tmp_path / "says"

    def is_clean(printed: list[str]) -> bool:
        says.write_text("\n".join(printed) + "\n")
        script = f"PATH={tmp_path}:$PATH; export SAYS={says}\n" + " &&\n".join(f"({clean})" for clean in case["clean"])
        return subprocess.run([*shell.split(), "-c", script], check=False).returncode == 0

    assert is_clean(case["before"][driver])
    for later in case["later"]:
        assert is_clean(later[driver]) == (later[driver] == case["before"][driver]), later["about"]
