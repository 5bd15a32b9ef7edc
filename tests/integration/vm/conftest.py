"""One VM lab for all tests that need real hosts: it boots once, and every test leaves its hosts as it found them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import lab
from chaos.contracts import Target
from chaos.run.connect import target_of
from chaos.spec.inventory import Inventory, load_inventory


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
