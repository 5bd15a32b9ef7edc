"""No test writes into the state folder of whoever runs it: the ledgers' key there is the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.run.connect import controller_home

_ASKED = "from chaos.run.connect import controller_home; print(controller_home())"
_SEEN: list[str] = []


@pytest.mark.parametrize("_", ["first", "second"])
def test_each_test_has_one_of_its_own(_: str, state_home: Path) -> None:
    assert controller_home() == f"{state_home}/gameday"
    assert not state_home.exists()
    assert controller_home() not in _SEEN
    _SEEN.append(controller_home())


def test_a_process_that_a_test_starts_has_it_too(state_home: Path) -> None:
    asked = [sys.executable, "-c", _ASKED]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == f"{state_home}/gameday\n"


def test_it_is_not_the_user_s() -> None:
    assert not Path(os.environ["XDG_STATE_HOME"]).is_relative_to(Path.home() / ".local")
