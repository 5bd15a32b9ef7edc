"""The embedded lab: real hosts on one machine, and the reference appliance that they serve.

    up -> keeper -> hosts: vm (QEMU, joined by a switch of ours) | netns (namespaces, joined by the kernel's bridge)
     \\-> inventory.yaml, which everything else takes like any other inventory

Two kinds of host, chosen by what this machine can do and stated in `Lab.why`. The names below are the whole interface;
they are loaded when they are first used, since `chaos.lab.appliance` is started inside slow emulated hosts too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaos.lab.api import Lab, down, power, ssh_command, status, up
    from chaos.lab.tools import missing_packages

__all__ = ["Lab", "down", "missing_packages", "power", "ssh_command", "status", "up"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from chaos.lab import api

    return getattr(api, name)
