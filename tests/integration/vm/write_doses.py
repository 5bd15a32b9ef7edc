"""The table of docs/doses.md: what was asked of each fault, and what packets showed of it on a VM host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chaos import lab
from chaos.contracts import Target
from chaos.run.connect import target_of
from chaos.spec.inventory import load_inventory
from tests.integration.vm.netem_doses import DOSES, Dose, Measured, measure, wired

PAGE = Path(__file__).parents[3] / "docs" / "doses.md"
BEGIN, END = "<!-- netem and bandwidth: begin -->", "<!-- netem and bandwidth: end -->"
_SCALES = {"ms": 1e3, "%": 1e2, "MB/s": 1e-6}
_HEAD = """# Doses

What each fault was asked for, and what was measured of it through the host.
"""
_SAID = """## netem and bandwidth

Datagrams through a veth of a VM host of the lab (Linux {kernel}, {tc}), in software emulation. A delay and a jitter may
be off by 1 ms or 2 %, a rate by 3 %, a share by as much as chance takes it in 99 of 100 runs of 5 000 packets (20 000
are sent). Written by `scripts/doses`.

| fault | measured | asked | found | may be off by | |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    """Boot a lab, measure, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GAMEDAY_LAB_DIR"] = folder
        up = lab.up("vm", workers=1, owner_pid=os.getpid())
        try:
            inventory = load_inventory(up.inventory_path)
            target = target_of("worker-1", inventory.hosts["worker-1"])
            write("".join(section(target)))
            target.close()
        finally:
            lab.down()


def section(target: Target) -> Iterator[str]:
    """Yield the text about netem and bandwidth."""
    kernel, tc = target.run("uname -r; tc -V").stdout.splitlines()
    yield _SAID.format(kernel=kernel, tc=tc.split(", ")[1])
    with wired(target):
        for dose in DOSES:
            for found in measure(target, dose):
                yield f"{row(dose, found)}\n"


def row(dose: Dose, found: Measured) -> str:
    """Return a line of the table."""
    given = ", ".join(f"{key}: {_shown(value)}" for key, value in dose.given.items())
    scale = _SCALES[found.unit]
    asked, got, allowed = (f"{value * scale:.3g} {found.unit}" for value in (found.asked, found.found, found.allowed))
    held = "" if found.is_within else "**no**"
    return f"| {dose.kind} `{{{given}}}` | {found.quantity} | {asked} | {got} | {allowed} | {held} |"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in value.items()) + "}"
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def write(text: str) -> None:
    """Put the text in its place on the page; whatever else stands there is others'."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else _HEAD
    before, found, rest = page.partition(f"{BEGIN}\n")
    after = rest.partition(f"{END}\n")[2] if found else ""
    PAGE.write_text(f"{before if found else page + chr(10)}{BEGIN}\n{text}{END}\n{after}", encoding="utf-8")
