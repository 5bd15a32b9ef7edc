"""Addresses as people write them: `host:port`, `[::1]:port`, a host alone, a URL. Whatever is none is a ValueError."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from probes.errors import PlanError
from probes.url import Url

_HOST = re.compile(r"[A-Za-z0-9._%:-]+")


def split_address(text: str) -> tuple[str, int | None]:
    """Return host and port (None where there is none)."""
    try:
        return str(ipaddress.ip_address(text)), None
    except ValueError:
        pass
    parts = urlsplit(f"//{text}")
    host = parts.hostname or ""
    if parts.netloc != text or "@" in text or not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} is no address; write it like 10.0.0.10:8080, gateway:8080 or [::1]:8080")
    return host, parts.port


def host_port(text: str) -> tuple[str, int]:
    """Return host and port, neither of which may be missing."""
    host, port = split_address(text)
    if not port:
        raise ValueError(f"{text!r} has no port; write it like 10.0.0.10:8080")
    return host, port


def checked_url(text: str) -> str:
    """Return the URL as it stands."""
    try:
        url = Url.parse(text)
    except PlanError as error:
        raise ValueError(str(error).removeprefix("url: ")) from error
    if url.port == 0:
        raise ValueError(f"{text!r} names port 0")
    return text
