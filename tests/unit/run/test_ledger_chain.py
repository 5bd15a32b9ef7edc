"""A ledger's lines are a chain: one that was taken out, put elsewhere, replaced or written twice is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.run import heal as heal_module
from chaos.run.fuse import Undo
from chaos.run.heal import check, heal
from chaos.run.ledger import Entry, Ledger
from chaos.run.signature import signed
from chaos.spec.inventory import Inventory, load_inventory

Lines = list[bytes]


@pytest.fixture
def run(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, of which `heal` knows."""
    monkeypatch.setattr(heal_module, "HOME", str(home))
    monkeypatch.setattr(heal_module, "MARKS", ())
    folder = tmp_path / "runs" / "exp" / "1"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text("hosts: {here: {connection: local}}\n")
    return load_inventory(path)


def entry(name: str, undone: Path) -> Entry:
    """An undo that is seen to have run."""
    return Entry(name, "here", "host", name, Undo(f"touch '{undone}'\n", f"[ -e '{undone}' ]\n"))


def lines_of(ledger: Ledger) -> Lines:
    return ledger.path.read_bytes().splitlines(keepends=True)


def unchained(line: dict[str, object]) -> bytes:
    """A line as it was written before there were chains."""
    return json.dumps(signed(line)).encode() + b"\n"


CHANGES: dict[str, Callable[[Lines, Lines], Lines]] = {
    "taken out": lambda ours, _: [ours[0], *ours[2:]],
    "the first taken out": lambda ours, _: ours[1:],
    "changed places": lambda ours, _: [ours[0], ours[2], ours[1], ours[3]],
    "replaced by one of another run": lambda ours, other: [ours[0], other[1], *ours[2:]],
    "replaced by the one before": lambda ours, _: [ours[0], ours[0], *ours[2:]],
    "written again": lambda ours, _: [*ours, ours[0]],
    "another run's put behind": lambda ours, other: [*ours, *other],
}
WRITTEN_AGAIN = ("replaced by the one before", "written again")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_and_what_was_closed_is_not_undone_again(
    change: str, run: Path, inventory: Inventory, tmp_path: Path
) -> None:
    ledger, closed, late = Ledger(run), tmp_path / "closed", tmp_path / "late"
    other = Ledger(tmp_path)
    for each, name in ((ledger, "f-0"), (other, "g-0")):
        each.open(entry(name, closed))
        each.close(name)
    ledger.open(entry("f-1", late))
    ledger.close("f-1")
    assert ledger.standings() == ["sound"] * 4
    ledger.path.write_bytes(b"".join(CHANGES[change](lines_of(ledger), lines_of(other))))
    assert "misplaced" in ledger.standings()
    for look in (check, heal):
        said = [found for found in look(inventory, run.parents[1]) if found.what == str(ledger.path)]
        assert [found.clean for found in said] == [False]
        assert "a line was taken out, put elsewhere or replaced" in said[0].detail
    if change not in WRITTEN_AGAIN:  # of those it can't be told whether they are what was taken out
        assert not closed.exists()
    assert [found.clean for found in heal(inventory, run.parents[1]) if found.host == "here"][-1:] == [True]


def test_what_was_opened_after_the_break_is_undone_and_closed(run: Path, inventory: Inventory, tmp_path: Path) -> None:
    ledger, before, after = Ledger(run), tmp_path / "before", tmp_path / "after"
    ledger.open(entry("f-0", before))
    ledger.close("f-0")
    ledger.open(entry("f-1", after))
    first, _, last = lines_of(ledger)
    ledger.path.write_bytes(first + last)
    heal(inventory, run.parents[1])
    assert after.exists()
    assert not before.exists()
    assert ledger.standings() == ["sound", "misplaced", "sound"]
    assert ledger.still_open() == []


def test_a_torn_last_line_breaks_no_chain(run: Path, tmp_path: Path) -> None:
    ledger = Ledger(run)
    ledger.open(entry("f-0", tmp_path / "a"), entry("f-1", tmp_path / "b"))
    whole = ledger.path.read_bytes()
    for torn in range(1, len(whole.splitlines()[1]), 9):
        ledger.path.write_bytes(whole[:-torn])
        ledger.close("f-0")
        assert ledger.standings() == ["sound", "sound"]
        assert ledger.still_open() == []


def test_a_ledger_from_before_chains_is_healed_and_becomes_one(run: Path, inventory: Inventory, tmp_path: Path) -> None:
    ledger, undone = Ledger(run), tmp_path / "undone"
    opened = {"id": "f-0", "state": "open", "host": "here", "at": "host", "fuse": "f-0"}
    undo = {"do": f"touch '{undone}'\n", "clean": f"[ -e '{undone}' ]\n"}
    ledger.path.write_bytes(unchained({"id": "f-9", "state": "closed"}) + unchained({**opened, "undo": undo}))
    assert all(found.clean for found in heal(inventory, run.parents[1]))
    assert undone.exists()
    assert ledger.standings() == ["sound"] * 3
    first, second, third = lines_of(ledger)
    ledger.path.write_bytes(first + third)
    assert "misplaced" in ledger.standings()
    ledger.path.write_bytes(first + second + third + first)
    assert ledger.standings()[-1] == "misplaced", "a line without a place is none of a chain"


_APPEND = """
import pathlib, sys
from chaos.run.ledger import Ledger
for number in range(20):
    Ledger(pathlib.Path(sys.argv[1])).close(f"f-{number}")
"""


def test_two_processes_at_once_write_one_chain(run: Path) -> None:
    Ledger(run).close("f")
    writers = [subprocess.Popen([sys.executable, "-c", _APPEND, run]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert Ledger(run).standings() == ["sound"] * 41


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_lines_in_any_order_but_a_beginning_are_seen(tmp_path: Path, data: st.DataObject) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.unlink(missing_ok=True)
    for number in range(5):
        ledger.close(f"f-{number}")
    written = lines_of(ledger)
    chosen = data.draw(st.lists(st.integers(0, 4), max_size=7))
    ledger.path.write_bytes(b"".join(written[index] for index in chosen))
    is_beginning = chosen == list(range(len(chosen)))
    assert ("misplaced" in ledger.standings()) != is_beginning
