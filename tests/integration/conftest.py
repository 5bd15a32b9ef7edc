"""One host under systemd for all tests that need one: it boots once, and stays as it was found."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

import pytest

from chaos.targets.local import LocalTarget
from tests.integration.booted_host import booted, wait_until


@pytest.fixture(scope="session")
def systemd_host() -> Iterator[LocalTarget]:
    """A host in namespaces whose process 1 is a real systemd; it is up. Needs root."""
    folder = tempfile.mkdtemp(prefix="gameday-systemd-")
    with booted(folder) as target:
        wait_until(lambda: "running" in target.run("systemctl is-system-running", check=False).stdout, 60)
        yield target
    shutil.rmtree(folder)
