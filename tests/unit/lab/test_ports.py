"""The ports that virtual hosts are reached by, held until QEMU takes them."""

from __future__ import annotations

import random

import pytest

from chaos.lab import vm
from chaos.lab.vm import reserve


def test_no_two_hosts_get_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with reserve() as first:
        port = first.getsockname()[1]
        monkeypatch.setattr(vm, "_PORTS", range(port, port + 1))
        monkeypatch.setattr(random, "sample", lambda ports, _: list(ports))
        with pytest.raises(OSError, match="no free port"):
            reserve()


def test_a_host_gets_its_own_port_again() -> None:
    with reserve() as first:
        port = first.getsockname()[1]
    with reserve(port) as again:
        assert again.getsockname()[1] == port
