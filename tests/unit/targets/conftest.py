"""Real peers: a network namespace of this machine, and a real sshd on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.targets.local import LocalTarget
from tests.unit.targets.real_sshd import RealSshd


@pytest.fixture
def namespace() -> Iterator[LocalTarget]:
    """A host with a network namespace of its own, in which `data0` and `data1` are joined."""
    if os.geteuid():
        pytest.skip("a network namespace needs root")
    ready = "ip link add data0 type veth peer name data1; ip link set data0 up; ip link set data1 up; echo up; exec cat"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", ready], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        target = LocalTarget("spaced", child.pid)
        yield target
        target.close()
        child.kill()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSshd]:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None or os.geteuid():
        pytest.skip("needs sshd and root")
    server = RealSshd.start(program, tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any ssh files: no known hosts, no config, no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path
