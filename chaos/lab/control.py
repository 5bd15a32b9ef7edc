"""How a lab's keeper is talked to: one line of JSON out, one line back, over the unix socket `control` in its folder.

    {"do": "status"}                                       -> {"state": "starting" | "up" | "failed", "why": ..., ...}
    {"do": "power", "host": NAME, "to": "on"|"off"|"status"} -> {"power": "on" | "off"}
    {"do": "down"}                                         -> {} once nothing of the lab is left but the keeper itself

A request that was refused comes back as {"error": "..."}. Only the owner of the folder (mode 0700) can connect.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from chaos.errors import Refusal

SOCKET = "control"
Message = dict[str, Any]


def lab_folder() -> Path:
    """Return the folder of the lab: $GAMEDAY_LAB_DIR, or gameday/lab in $XDG_STATE_HOME or ~/.local/state."""
    if given := os.environ.get("GAMEDAY_LAB_DIR"):
        return Path(given).resolve()
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "gameday" / "lab"


def ask(folder: Path, request: Message, timeout: float = 60.0) -> Message | None:
    """Return the keeper's answer, or None when no keeper is there. Raises Refusal with its words when it refuses."""
    try:
        answer = _exchange(folder, json.dumps(request).encode() + b"\n", timeout)
    except (FileNotFoundError, ConnectionError):
        return None
    except TimeoutError as error:
        raise Refusal(
            f"the lab's keeper did not answer {request} within {timeout:.0f} s; see {folder}/keeper.log"
        ) from error
    if not answer:
        return None  # it ended while it was asked
    message: Message = json.loads(answer)
    if "error" in message:
        raise Refusal(message["error"])
    return message


def _exchange(folder: Path, request: bytes, timeout: float) -> bytes:
    """Send a line and return everything that comes back."""
    # through the folder's descriptor: the path of a unix socket may be no longer than 107 bytes
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(timeout)
            channel.connect(f"/proc/self/fd/{held}/{SOCKET}")
            channel.sendall(request)
            return b"".join(iter(lambda: channel.recv(65536), b""))
    finally:
        os.close(held)
