"""fingerprints.json: the state of each host before and after a run, as lines of text (`run.fingerprint`).

    {"before": {"worker-1": ["qdisc: ...", ...]}, "after": {"worker-1": [...]}}

A host that could not be read has no entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chaos.errors import RecordingError
from chaos.record.reading import read_json, why

FILE = "fingerprints.json"
Lines = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Fingerprints:
    """Lines by the name of the host."""

    before: Lines
    after: Lines


def store(folder: Path, before: Lines, after: Lines) -> None:
    """Write them into a recording, in one step: a reader sees all or nothing."""
    fresh = folder / f".{FILE}"
    fresh.write_text(json.dumps({"before": before, "after": after}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(folder / FILE)


def load(folder: Path) -> Fingerprints | None:
    """Return what a recording holds; None for one without. Raises RecordingError."""
    if not (folder / FILE).exists():
        return None
    held = read_json(folder / FILE)
    try:
        before, after = ({str(h): tuple(map(str, ls)) for h, ls in held[side].items()} for side in ("before", "after"))
    except (LookupError, TypeError, AttributeError) as error:
        raise RecordingError(f"{folder / FILE} can't be read: {why(error)}") from error
    return Fingerprints(before, after)
