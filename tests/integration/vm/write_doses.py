"""The tables of docs/doses.md: what was asked of each fault, and what was measured of it on VM hosts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaos import catalog, lab
from chaos.contracts import Target
from chaos.run.connect import target_of
from chaos.spec.inventory import load_inventory
from tests.integration.vm.host_doses import HOLD, HOST_DOSES, measure_host
from tests.integration.vm.netem_doses import DOSES, Dose, Measured, measure, wired
from tests.integration.vm.soft_roce import Written, soft_roce

PAGE = Path(__file__).parents[3] / "docs" / "doses.md"
_SCALES = {"ms": 1e3, "s": 1.0, "%": 1e2, "kB": 1e-3, "MB/s": 1e-6}
_HEAD = """# Doses

What each fault was asked for, and what was measured of it through the host.
"""
_QDISCS = """## netem, bandwidth, shallow_buffer, pause_storm

Datagrams through a veth of a VM host of the lab (Linux {kernel}, {tc}), in software emulation. A delay and a jitter may
be off by 1 ms or 2 %, a rate by 3 %, a share by as much as chance takes it in 99 of 100 runs of 5 000 packets (20 000
are sent). A burst is what was sent at once; the bucket's 10 kB pass beside the buffer, and up to 5 % while it is sent.
Written by `scripts/doses`.

| fault | measured | asked | found | may be off by | |
| --- | --- | --- | --- | --- | --- |
"""


_HOST = """## The host itself

A VM host of the lab (Linux {kernel}, one core) in software emulation, by what its kernel says after {hold:.0f} s:
what starting a program costs counts in. Written by `scripts/doses`.

| fault | measured | asked | found | may be off by | |
| --- | --- | --- | --- | --- | --- |
"""
_ROCE = """## Soft RoCE

`ib_write_bw` between two VM hosts of the lab (Linux {kernel}, rdma_rxe, path MTU 1024), {count} messages of 64 KiB; the
fault is on what the sender's eth1 sends to UDP port 4791. A reliable connection goes back to the packet that was lost
and sends all since again, so packets for each that was needed tell what a loss costs, whatever the machine is busy with
(MB/s are of software emulation, and vary). What did not get through in {within} s has no figures. Written by
`scripts/doses`.

| fault | MB/s | packets sent for each needed |
| --- | --- | --- |
"""
_COUNT, _WITHIN = 50, 30
_ROCE_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("netem", {"loss": "0.5%"}),
    ("netem", {"loss": "2%"}),
    ("netem", {"loss": "10%"}),
    ("netem", {"delay": "1ms"}),
    ("bandwidth", {"rate": "50mbit", "burst": "10kB", "latency": "1ms"}),
    *(("shallow_buffer", {"rate": "50mbit", "buffer": size}) for size in ("15kB", "60kB", "120kB", "300kB")),
    ("pause_storm", {"pause": "20ms", "release_for": "5ms", "rate": "200mbit"}),
]


def main() -> None:
    """Boot a lab, measure, and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GAMEDAY_LAB_DIR"] = folder
        up = lab.up("vm", workers=1, owner_pid=os.getpid())
        try:
            inventory = load_inventory(up.inventory_path)
            worker, gateway = (target_of(name, inventory.hosts[name]) for name in ("worker-1", "gateway"))
            write("qdiscs", "".join(qdiscs(worker)))
            write("soft RoCE", "".join(roce(worker, gateway)))
            write("host", "".join(host(worker)))
            worker.close()
            gateway.close()
        finally:
            lab.down()


def qdiscs(target: Target) -> Iterator[str]:
    """Yield the text about what is one qdisc."""
    kernel, tc = target.run("uname -r; tc -V").stdout.splitlines()
    yield _QDISCS.format(kernel=kernel, tc=tc.split(", ")[1])
    with wired(target):
        for dose in DOSES:
            for found in measure(target, dose):
                yield f"{row(dose, found)}\n"


def host(target: Target) -> Iterator[str]:
    """Yield the text about faults of the host itself."""
    yield _HOST.format(kernel=target.run("uname -r").stdout.strip(), hold=HOLD)
    for dose in HOST_DOSES:
        asked, found = measure_host(target, dose)
        figures = [asked, found, dose.allowed if asked is not None else None]
        shown = ["" if f is None else f"{f * _SCALES[dose.unit]:.3g} {dose.unit}" for f in figures]
        held = "" if dose.is_within(asked, found) else "**no**"
        yield f"| {dose.kind} `{_shown(dose.given)}` | {dose.quantity} | {' | '.join(shown)} | {held} |\n"


def roce(sender: Target, receiver: Target) -> Iterator[str]:
    """Yield the text about soft RoCE; each is measured twice, and the faster counts: a machine may be busy."""
    yield _ROCE.format(kernel=sender.run("uname -r").stdout.strip(), count=_COUNT, within=_WITHIN)

    def line(name: str, tries: list[Written]) -> str:
        best = max(tries, key=lambda written: written.megabytes_per_second)
        got_through = best.megabytes_per_second > 0
        figures = (best.megabytes_per_second, best.packets_per_needed) if got_through else ()
        return f"| {name} | {' | '.join(f'{figure:.3g}' for figure in figures) or 'none |'} |\n"

    with soft_roce(sender, receiver) as both:
        yield line("nothing", [both.write(_COUNT, _WITHIN) for _ in range(2)])
        for kind, given in _ROCE_FAULTS:
            chosen = {"interface": "eth1", "protocols": ["udp"], "ports": [4791], **given}
            fault = catalog.faults().get(kind).model_validate(chosen)
            tries = [both.write_under(fault, _COUNT, _WITHIN)[0] for _ in range(2)]
            yield line(f"{kind} `{_shown(given)}`", tries)


def row(dose: Dose, found: Measured) -> str:
    """Return a line of the table."""
    scale = _SCALES[found.unit]
    asked, got, allowed = (f"{value * scale:.3g} {found.unit}" for value in (found.asked, found.found, found.allowed))
    held = "" if found.is_within else "**no**"
    return f"| {dose.kind} `{_shown(dose.given)}` | {found.quantity} | {asked} | {got} | {allowed} | {held} |"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in value.items()) + "}"
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def write(name: str, text: str) -> None:
    """Put the text in its place on the page; whatever else stands there is others'."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else _HEAD
    before, found, rest = page.partition(begin)
    after = rest.partition(end)[2] if found else ""
    PAGE.write_text(f"{before if found else page + chr(10)}{begin}{text}{end}{after}", encoding="utf-8")
