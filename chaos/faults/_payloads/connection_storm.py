"""Opens connections and uses them for nothing: HOST PORT AUTHORITY TARGET RATE HOLD, RATE in 1/s, HOLD in s.

Prints `began= at= opened= connected= failed= held=` a second: uptimes (s) of the first one and of this line, how many
were begun, how many of those whose time is over were there and were not, and how many are not over.
"""

import os
import resource
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

TICK = 0.02
FORGIVEN = 1.0  # s of the rate that is made up for where the host gave no time; what is beyond is left out
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close(2) sends a reset


def uptime() -> float:
    """Return /proc/uptime in s."""
    return float(Path("/proc/uptime").read_text().split()[0])


def begin(family: int, address: "tuple[object, ...]") -> "socket.socket":
    """Begin to connect; how that ends is seen when its time is over."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    made.connect_ex(address)
    return made


def was_there(made: "socket.socket") -> bool:
    """Return whether it was connected, and close it."""
    try:
        made.getpeername()
        return True
    except OSError:
        return False
    finally:
        made.close()


def main(host: str, port: int, rate: float, hold: float) -> None:
    """Go on for as long as the parent lives."""
    parent = os.getppid()
    most = int(rate * (hold + FORGIVEN) * 1.1) + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = deque()  # type: deque[tuple[float, socket.socket]]
    opened = connected = failed = 0
    first, since, told = uptime(), time.monotonic(), 0.0
    while os.getppid() == parent:
        now = time.monotonic()
        while held and held[0][0] <= now:
            there = was_there(held.popleft()[1])
            connected, failed = connected + there, failed + (not there)
        due = int(rate * (now - since)) + 1 - opened
        if due > rate * FORGIVEN + 1:
            since += (due - rate * FORGIVEN) / rate
            due = int(rate * FORGIVEN)
        for _ in range(min(due, most - 100 - len(held))):
            held.append((time.monotonic() + hold, begin(family, address)))
            opened += 1
        if now - told >= 1:
            told, counts = now, f"opened={opened} connected={connected} failed={failed} held={len(held)}"
            sys.stdout.write(f"began={first} at={uptime()} {counts}\n")
            sys.stdout.flush()
        time.sleep(max(0.002, min(TICK, 1 / rate)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[5]), float(sys.argv[6]))
