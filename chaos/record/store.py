"""Where recordings live: `<root>/<experiment>/<utc>-<id>/`, with `latest` beside them pointing at the newest."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from pathlib import Path


def slug(name: str) -> str:
    """Return a name as a folder name: lower case, words joined by hyphens; never empty, never a path."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "experiment"


def new_folder(root: Path, name: str, now: datetime) -> Path:
    """Make and return a fresh folder for a run, and point `latest` at it."""
    run_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    folder = root / slug(name) / run_id
    folder.mkdir(parents=True)
    _point(folder.parent / "latest", run_id)
    return folder


def _point(link: Path, to: str) -> None:
    """Replace a symbolic link in one step, so that a reader sees the old or the new and never none."""
    fresh = link.with_name(f".latest-{secrets.token_hex(4)}")
    fresh.symlink_to(to)
    fresh.replace(link)
