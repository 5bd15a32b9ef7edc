"""Kills processes, again and again: PATTERN SIGNAL EVERY. Prints `kills=` and `rounds=`.

PATTERN, in hex, is a regular expression looked for in whole command lines; so it stands in no command line itself.
Every EVERY s all that match are sent the signal. Spared: process 1, and who stands in our own directories.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

OURS = "/run/gameday/"


def command_of(pid: str) -> str:
    """Return a command line as ps(1) shows it; empty for a kernel thread, and for who is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").rstrip()
    except OSError:
        return ""


def is_ours(pid: str) -> bool:
    """Whether a process stands in a directory of ours: a fuse, a payload."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(OURS)  # noqa: PTH115
    except OSError:
        return False


def kill(pid: str, number: int) -> int:
    """Return 1 where the signal was sent, 0 where the process was gone."""
    try:
        os.kill(int(pid), number)
    except ProcessLookupError:
        return 0
    return 1


def main(pattern: str, name: str, every: float) -> None:
    """Kill for as long as the parent lives."""
    parent, kills, rounds = os.getppid(), 0, 0
    looked_for = re.compile(bytes.fromhex(pattern).decode())
    number = getattr(signal, "SIG" + name)
    due = time.monotonic()
    while os.getppid() == parent:
        found = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]
        met = [pid for pid in found if looked_for.search(command_of(pid)) and not is_ours(pid)]
        kills += sum(kill(pid, number) for pid in met)
        rounds += 1
        sys.stdout.write(f"kills={kills} rounds={rounds}\n")
        sys.stdout.flush()
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
