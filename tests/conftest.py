"""For every test: the YAML under cases/ is material, not experiments to run; and no test knows this user's state."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# a deadline for each example would test how busy the machine is
settings.register_profile("gameday", deadline=None)
settings.load_profile("gameday")

collect_ignore = ["cases"]
_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def state_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the state folders of all tests, and one in it for what several tests share."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "shared"))
        yield folder


@pytest.fixture(autouse=True)
def state_home(state_homes: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, not made yet; the processes that it starts have it too."""
    folder = state_homes / str(next(_numbers))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder
