"""What shows that a line was written by this user on this machine: a keyed hash (HMAC-SHA256, RFC 2104) within it.

A ledger's undo is run as root, and a ledger may come from somebody else. The key never leaves this machine: it lies in
our state folder, readable by its user alone. The hash covers the line and nothing around it, so a folder may be moved.
It says who wrote a line, and not that no line is missing: that the ledger's lines name each other says.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.errors import RecordingError
from chaos.run.connect import controller_home

_FIELD = "hmac"
_BYTES = 32


def signed(line: Mapping[str, object]) -> dict[str, object]:
    """Return a line with its signature; the key is made where there is none. Raises RecordingError for a bad key."""
    return {**line, _FIELD: _hash(line, _key() or _new_key())}


def is_ours(line: Any) -> bool:
    """Whether a line, which may be anything, bears our signature. Raises RecordingError for a bad key; only looks."""
    said = line.get(_FIELD) if isinstance(line, dict) else None
    key = _key()
    if key is None or not isinstance(said, str) or not said.isascii():
        return False
    return hmac.compare_digest(said, _hash({name: line[name] for name in line if name != _FIELD}, key))


def signature_of(line: Mapping[str, Any]) -> str:
    """Return what a signed line bears."""
    return str(line[_FIELD])


def _hash(line: Mapping[str, object], key: bytes) -> str:
    canonical = json.dumps(line, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, canonical.encode(), hashlib.sha256).hexdigest()


def _path() -> Path:
    return Path(controller_home(), "ledger.key")


def _key() -> bytes | None:
    """Return the key; None where there is none yet."""
    path = _path()
    try:
        with path.open("rb") as file:
            status, key = os.fstat(file.fileno()), file.read(_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordingError(f"{path}: the key of the ledgers can't be read: {error}") from error
    if len(key) != _BYTES or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise RecordingError(
            f"{path}: a key is {_BYTES} bytes in a file of one's own with mode 0600; found {len(key)} or more, of user "
            f"{status.st_uid}, mode {status.st_mode & 0o777:04o}; mend it, or remove it, which disowns every ledger"
        )
    return key


def _new_key() -> bytes:
    """Make the key, whole or not at all; of several that try at once one makes it, and all return that one."""
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            _link(fresh, path)
        finally:
            fresh.unlink()
    except OSError as error:
        raise RecordingError(f"{path}: the key of the ledgers can't be made: {error}") from error
    key = _key()
    assert key is not None, "it was linked, by us or by another"
    return key


def _link(fresh: Path, path: Path) -> None:
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return  # another process was first
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key that a power cut takes would take every ledger with it
    finally:
        os.close(folder)
