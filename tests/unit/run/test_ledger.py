from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.errors import RecordingError
from chaos.run.fuse import Undo
from chaos.run.ledger import Entry, Ledger, all_ledgers


def entry(name: str) -> Entry:
    return Entry(name, "worker-1", "host", name, Undo("echo 'it''s'\n", "true\n"))


def test_what_was_not_closed_is_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.still_open() == []
    for name in ("a", "b", "c"):
        ledger.open(entry(name))
    ledger.close("b")
    assert Ledger(tmp_path).still_open() == [entry("a"), entry("c")]


def test_a_torn_last_line_hides_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open(entry("a"))
    with ledger.path.open("a") as file:
        file.write('{"id": "b", "state": "op')
    assert ledger.still_open() == [entry("a")]


def test_healing_after_a_torn_line_closes_for_good(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open(entry("a"))
    ledger.open(entry("b"))
    with ledger.path.open("a") as file:
        file.write('{"id": "b", "sta')
    ledger.close("a")
    ledger.close("b")
    assert ledger.still_open() == []


def test_damage_in_the_middle_is_said(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.path.write_text("{broken\n")
    ledger.open(entry("a"))
    with pytest.raises(RecordingError, match=r"ledger\.jsonl:1:1"):
        ledger.still_open()


def test_a_run_is_alive_as_long_as_its_process(tmp_path: Path) -> None:
    hold = (
        "import sys, pathlib; from chaos.run.ledger import Ledger\n"
        "with Ledger(pathlib.Path(sys.argv[1])).alive(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        assert Ledger(tmp_path).is_alive()
        child.kill()
    assert not Ledger(tmp_path).is_alive()


def test_each_run_s_ledger_is_found_once(tmp_path: Path) -> None:
    for run in ("exp/1", "exp/2"):
        (tmp_path / run).mkdir(parents=True)
        Ledger(tmp_path / run).open(entry(run))
    (tmp_path / "exp/latest").symlink_to("2")
    assert [ledger.path.parent for ledger in all_ledgers(tmp_path)] == [tmp_path / "exp/1", tmp_path / "exp/2"]


WRITER = """
import itertools, pathlib, sys
from chaos.run.fuse import Undo
from chaos.run.ledger import Entry, Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
for number in itertools.count():
    ledger.open(Entry(f"f-{number}", "worker-1", "host", f"f-{number}", Undo("x" * 5000, "true")))
    print(number, flush=True)
"""


def test_a_writer_killed_at_random_leaves_every_undo_that_it_said_was_written(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for trial in range(3):
        (folder := tmp_path / str(trial)).mkdir()
        with subprocess.Popen([sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline()]
            time.sleep(chance.uniform(0, 0.05))
            writer.kill()
            said += writer.stdout.readlines()
        ledger = Ledger(folder)
        left = [entry.id for entry in ledger.still_open()]
        written = [f"f-{line.strip()}" for line in said if line.endswith("\n")]
        assert left[: len(written)] == written, f"seed {seed}"
        ledger.close(*left[:1])
        assert [entry.id for entry in ledger.still_open()] == left[1:], f"seed {seed}"
