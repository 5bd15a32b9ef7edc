"""Holds the host's ephemeral ports: FREE. Prints `held=` and `missing=` ports, whenever that changes.

A port that is bound by a socket and not shared (SO_REUSEADDR) is passed over by connect(2) for every peer. What
somebody listens on is left alone for good: whoever serves there must be able to start again.
"""

import os
import resource
import socket
import sys
import time
from pathlib import Path

IPV4 = "/proc/sys/net/ipv4/"
LISTENS = "0A"


def numbers(text: str) -> "set[int]":
    """Return the ports of ip_local_reserved_ports (`8080,9000-9010`)."""
    spans = [part.split("-") for part in text.strip().split(",") if part]
    return {port for span in spans for port in range(int(span[0]), int(span[-1]) + 1)}


def listening() -> "set[int]":
    """Return the ports that somebody listens on (proc(5), /proc/net/tcp)."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in lines(f"/proc/net/{name}")[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENS}


def lines(file: str) -> "list[str]":
    """Return the lines of a file, none where there is none."""
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []


def hold(port: int, family: int) -> "socket.socket | None":
    """Return a socket that holds a port for IPv4 and IPv6, or None while somebody else has it."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("", port))
    except OSError:
        made.close()
        return None
    return made


def main(free: int) -> None:
    """Hold all but FREE of the ports, for as long as the parent lives."""
    parent = os.getppid()
    low, high = map(int, Path(IPV4 + "ip_local_port_range").read_text().split())
    spared = numbers(Path(IPV4 + "ip_local_reserved_ports").read_text()) | listening()
    missing = [port for port in range(low, high + 1) if port not in spared][free:]
    most = len(missing) + 100
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, allowed)))
    family = socket.AF_INET6 if Path("/proc/net/if_inet6").exists() else socket.AF_INET
    held, told = [], -1  # type: list[socket.socket], int
    while os.getppid() == parent:
        tried = {port: hold(port, family) for port in missing}
        held += [made for made in tried.values() if made]
        missing = [port for port, made in tried.items() if not made]
        if told != len(missing):
            told = len(missing)
            sys.stdout.write(f"held={len(held)} missing={told}\n")
            sys.stdout.flush()
        time.sleep(0.2)


if __name__ == "__main__":
    main(int(sys.argv[1]))
