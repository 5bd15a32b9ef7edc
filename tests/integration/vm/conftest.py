"""One VM lab and one host under systemd for all tests that need them: each boots once, and stays as it was found."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import lab
from chaos.contracts import Target
from chaos.run.connect import target_of
from chaos.spec.inventory import Inventory, load_inventory
from chaos.targets.local import LocalTarget
from tests.integration.booted_host import booted, wait_until


@pytest.fixture(scope="session")
def vm_inventory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The inventory file of a lab of VM hosts: a gateway and a worker that serve."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAMEDAY_LAB_DIR", str(folder))
        up = lab.up("vm", workers=1, owner_pid=os.getpid())
        yield up.inventory_path
        lab.down()


@pytest.fixture(scope="session")
def inventory(vm_inventory: Path) -> Inventory:
    """The same inventory, read."""
    return load_inventory(vm_inventory)


@pytest.fixture(scope="session")
def systemd_host() -> Iterator[LocalTarget]:
    """A host in namespaces whose process 1 is a real systemd; it is up. Needs root."""
    folder = tempfile.mkdtemp(prefix="gameday-systemd-")
    with booted(folder) as target:
        wait_until(lambda: "running" in target.run("systemctl is-system-running", check=False).stdout, 60)
        yield target
    shutil.rmtree(folder)


@pytest.fixture
def worker(inventory: Inventory) -> Iterator[Target]:
    """A target on worker-1, connected over SSH."""
    target = target_of("worker-1", inventory.hosts["worker-1"])
    yield target
    target.close()


@pytest.fixture
def gateway(inventory: Inventory) -> Iterator[Target]:
    """A target on the gateway, connected over SSH."""
    target = target_of("gateway", inventory.hosts["gateway"])
    yield target
    target.close()
