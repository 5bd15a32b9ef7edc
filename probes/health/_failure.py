"""An exception of the network as the kind of failure it is, however many others a library wrapped around it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

from probes.errors import ErrorKind

_LOCAL = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_KINDS: tuple[tuple[type[BaseException], ErrorKind], ...] = (
    (socket.gaierror, ErrorKind.DNS_FAILED),
    (UnicodeError, ErrorKind.DNS_FAILED),  # a name that IDNA can't encode
    (ssl.SSLError, ErrorKind.TLS_FAILED),
    (ConnectionRefusedError, ErrorKind.CONNECT_REFUSED),
    (ConnectionResetError, ErrorKind.RESET),
    (TimeoutError, ErrorKind.TIMEOUT),
)


def why_failed(error: BaseException, otherwise: ErrorKind = ErrorKind.CONNECT_FAILED) -> ErrorKind:
    """Return the kind of the first exception in the chain that says what happened, else `otherwise`."""
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _LOCAL:
            return ErrorKind.LOCAL_RESOURCES
        for kind, meaning in _KINDS:
            if isinstance(cause, kind):
                return meaning
    return otherwise


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, those in it where it is a group, and those it came of."""
    yield error
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _chain(part)
    if (cause := error.__cause__ or error.__context__) is not None:
        yield from _chain(cause)
