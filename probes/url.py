"""A target's address, taken apart once. Takes the URL of a plan; `request` and `wire` use the parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from probes.errors import PlanError

_DEFAULT_PORTS = {"http": 80, "https": 443}
_VISIBLE_ASCII = re.compile(r"[!-~]+\Z")
_CREDENTIALS = re.compile(r"[^/?#]*//(?:[^/?#]*@|[^/?#@[]*:[^/?#@]*[^0-9/?#@][^?#]*@)", re.DOTALL)


def has_credentials(text: str) -> bool:
    """Whether a URL, or what was meant as one, holds a user or a password; no error may repeat such a text.

    A password may have a slash in it that should have been percent-encoded: then it looks like a port that is none.
    """
    return _CREDENTIALS.match(text) is not None


@dataclass(frozen=True, slots=True)
class Url:
    """`https://[::1]:8443/v1?x=1` as host "::1", port 8443, authority "[::1]:8443", target "/v1?x=1", tls."""

    host: str
    port: int
    authority: str
    target: str
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Url:
        """Return the parts. Raises PlanError."""
        if has_credentials(text):
            raise PlanError("url: it holds credentials; put them into an Authorization header")
        if not _VISIBLE_ASCII.match(text):
            raise PlanError(f"url: {text!r} holds a character that a URL can't have; percent-encode it")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise PlanError(f"url: {text!r}: {error}") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise PlanError(f"url: {text!r} is not an address; write it like http://host:port/path (or https)")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        default = _DEFAULT_PORTS[parts.scheme]
        return cls(parts.hostname, default if port is None else port, parts.netloc, target, parts.scheme == "https")
