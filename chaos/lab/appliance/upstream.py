"""A worker as the gateway sees it: its address, its connections, its health, and what came of the requests to it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from chaos.errors import InputError
from chaos.lab.appliance.health import Health
from chaos.lab.appliance.http1 import Pool
from chaos.lab.appliance.settings import GatewaySettings

log = logging.getLogger(__name__)


class Upstream:
    """One worker. `changed()` is called when it is ejected or readmitted."""

    def __init__(self, name: str, host: str, port: int, settings: GatewaySettings, changed: Callable[[], None]) -> None:
        self.name = name
        self.pool = Pool(host, port)
        self.health = Health(settings, self._health_changed)
        self.outstanding = 0
        self.outcomes: Counter[str] = Counter()
        """By status, or by how there came to be none (connect_failed, lost, timeout, abandoned)."""
        self.ejections: Counter[str] = Counter({"check": 0, "requests": 0})
        self._changed = changed

    def _health_changed(self, healthy: bool, cause: str, why: str) -> None:
        if healthy:
            log.info("%s is healthy", self.name)
        else:
            log.warning("%s is ejected: %s", self.name, why)
            self.ejections[cause] += 1
            # The next host to answer at this address may be another boot of it, which would reset them one by one.
            self.pool.drop()
        self._changed()


def parse_worker(text: str) -> tuple[str, str, int]:
    """Return name, host and port of `NAME=http://HOST:PORT`."""
    name, _, url = text.partition("=")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not name or parts.scheme != "http" or not host or not port:
        raise InputError(f"--worker: asked {text!r}, allowed: NAME=http://HOST:PORT")
    return name, host, port
