"""Where connections go, and how https is verified there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from probes.errors import PlanError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where connections go: a host name or an address of either family and a port, or a unix socket; TLS or not.

    `server_name` is what a certificate is verified for and the server is told (SNI), in place of the host.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    unix_socket: str | None = None
    server_name: str | None = None

    async def connect(self, protocol: asyncio.Protocol) -> None:
        """Open a connection for a protocol. Raises OSError, UnicodeError (a host name that IDNA can't encode)."""
        loop = asyncio.get_running_loop()
        name = (self.server_name or self.host) if self.tls else None
        if self.unix_socket is not None:
            await loop.create_unix_connection(lambda: protocol, self.unix_socket, ssl=self.tls, server_hostname=name)
        else:
            await loop.create_connection(lambda: protocol, self.host, self.port, ssl=self.tls, server_hostname=name)


def tls_context(ca: str | None = None, certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Return a context that verifies https and speaks HTTP/1.1. Raises PlanError for files that can't be used.

    Verified against `ca`, or the system's (or SSL_CERT_FILE's) authorities. All are paths of PEM files; `key` is not
    needed where it stands in the same file as the certificate.
    """
    context = _reading("ca", ca, lambda: ssl.create_default_context(cafile=ca))
    context.set_alpn_protocols(["http/1.1"])
    if certificate is not None:
        _reading("certificate", certificate, lambda: context.load_cert_chain(certificate, key, _no_passphrase))
    return context


def _reading(what: str, path: str | None, read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        why = str(getattr(error, "reason", None) or error.args[-1]).replace("_", " ").lower()
        raise PlanError(f"{what}: {path!r} can't be used ({why}); give the path of a PEM file") from error


def _no_passphrase() -> str:
    """Refuse, where OpenSSL would ask on the terminal."""
    raise ValueError("its key has a passphrase")
