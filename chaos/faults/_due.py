"""An undo that is due: it lies in a folder of ours on the host from before a fault acts until it is undone.

So `gameday heal` finds what bears no mark of its own, where ledger and fuse are both lost, and runs what is in it.
"""

from __future__ import annotations

from shlex import quote

from chaos.contracts import Shell

HOME = "/run/gameday/undos"
"""Where such folders lie, each with `undo` and `clean`."""
PERSISTENT = "/var/lib/gameday"
"""The same for what outlives a reboot, beside the undos that run at boot."""
REMOVE = '(cd "$item" && sh ./undo && sh ./clean && cd / && rm -rf "$item")'
"""Sh that does what is due in the folder `$item`."""


def laid(folder: str, undo: Shell) -> str:
    """Return sh that lays an undo down; it ends with 1 where that can't be done."""
    writes = f"printf %s {quote(undo.script)} >{folder}/undo; printf %s {quote(undo.until)} >{folder}/clean"
    return f"(umask 077; mkdir -p {folder} && {writes}) || exit 1"


def done(folder: str) -> str:
    """Return sh that takes it away again."""
    home, _, _ = folder.rpartition("/")
    return f"rm -rf {folder}; rmdir {home} 2>/dev/null; true"
