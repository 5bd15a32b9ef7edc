"""Reading a recording's files, which may be somebody else's: whatever is wrong with one is a RecordingError of a line.

A recording is a folder of files and folders. It has no links, so that nothing outside it is read or written through
one, and no pipes or devices, which a reader would wait for.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chaos.errors import RecordingError

_MOST_SAID = 200  # characters of an error: it may quote what was read


def read_json(path: Path) -> Any:
    """Return what a file of JSON holds. Raises RecordingError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: can't be read: {why(error)}") from error


def why(error: BaseException) -> str:
    """Return what an error says, as one line; of a ValidationError the first mistake, with its place."""
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_url=False, include_input=False)
        said = f"{'.'.join(map(str, first['loc'])) or 'all of it'}: {first['msg']}"
        return _line(said) + (f" (and {len(others)} more)" if others else "")
    return _line(str(error) or type(error).__name__)


def refuse_links(folder: Path) -> None:
    """Raise RecordingError where anything in a folder is neither a file nor a folder."""
    try:
        with os.scandir(folder) as entries:
            modes = {entry.path: entry.stat(follow_symlinks=False).st_mode for entry in entries}
        for path, mode in modes.items():
            if stat.S_ISDIR(mode):
                refuse_links(Path(path))
            elif not stat.S_ISREG(mode):
                raise RecordingError(
                    f"{path}: is a {_kind(mode)}; a recording holds files and folders alone, so that nothing outside "
                    "it is read or written: remove it"
                )
    except (OSError, RecursionError) as error:
        raise RecordingError(f"{folder}: can't be read: {why(error)}") from error


def _kind(mode: int) -> str:
    return "symbolic link" if stat.S_ISLNK(mode) else "pipe, socket or device"


def _line(text: str) -> str:
    return " ".join(text.split())[:_MOST_SAID]
