"""A ledger of somebody else's is data: nothing in it is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chaos.errors import RecordingError
from chaos.run import heal as heal_module
from chaos.run.fuse import Undo
from chaos.run.heal import check, heal
from chaos.run.ledger import Entry, Ledger
from chaos.run.signature import is_ours, signed
from chaos.spec.inventory import Inventory, load_inventory


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, with no key yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "gameday"


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


def entry(trap: Path, name: str = "f-0") -> Entry:
    """An undo that is seen to have run."""
    return Entry(name, "here", "host", name, Undo(f"touch '{trap}'\n", f"touch '{trap}'\n"))


def lines_of(ledger: Ledger) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.path.read_text().splitlines()]


def write(ledger: Ledger, lines: list[dict[str, Any]]) -> None:
    ledger.path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def of_ledger(found: list[heal_module.Healed]) -> list[tuple[bool, str]]:
    return [(result.clean, result.detail) for result in found if result.what.endswith("ledger.jsonl")]


# --- a ledger from somewhere else -------------------------------------------------------------------------------------


def without_signatures(state: Path, ledger: Ledger) -> None:
    del state
    write(ledger, [{k: v for k, v in line.items() if k != "hmac"} for line in lines_of(ledger)])


def with_nonsense_for_signatures(state: Path, ledger: Ledger) -> None:
    del state
    nonsense: list[Any] = ["", "0" * 64, "é", "\ud800", "[" * 9, None, 7, ["x"], {"hmac": "x"}]
    write(ledger, [line | {"hmac": wrong} for line in lines_of(ledger) for wrong in nonsense])


def by_another_key(state: Path, ledger: Ledger) -> None:
    del ledger
    (state / "ledger.key").unlink()
    signed({})


def with_no_key_here(state: Path, ledger: Ledger) -> None:
    del ledger
    (state / "ledger.key").unlink()


@pytest.mark.parametrize(
    "foreign", [without_signatures, with_nonsense_for_signatures, by_another_key, with_no_key_here]
)
def test_the_undo_of_a_ledger_from_elsewhere_is_never_run(
    foreign: Callable[[Path, Ledger], None], run: Path, inventory: Inventory, state: Path, tmp_path: Path
) -> None:
    ledger, trap = Ledger(run), tmp_path / "trap"
    ledger.open(entry(trap))
    foreign(state, ledger)
    written = ledger.path.read_bytes()
    for look in (check, heal):
        found = look(inventory, run.parents[1])
        ((clean, said),) = of_ledger(found)
        assert clean, "it is information: a recording that was put here must not make heal fail for ever"
        assert said.startswith("it was not written by this user on this machine, so no undo of theirs is run")
        assert [result.clean for result in found if result.host == "here"] == [True], "its host is swept all the same"
    assert not trap.exists()
    assert ledger.path.read_bytes() == written


def test_looking_makes_no_key(run: Path, inventory: Inventory, state: Path) -> None:
    Ledger(run).path.write_text('{"id": "f-0"}\n')
    check(inventory, run.parents[1])
    assert not state.exists()


@pytest.mark.parametrize("line", ["[]", "null", '"open"', "1e999", "NaN", '{"state": "open"}', "{}"])
def test_a_line_of_another_shape_is_not_ours(line: str, run: Path, tmp_path: Path) -> None:
    ledger = Ledger(run)
    ledger.open(entry(tmp_path / "trap"))
    ledger.close("f-0")
    with ledger.path.open("a") as file:
        file.write(line + "\n")
    assert ledger.still_open() == []
    assert ledger.standings() == ["sound", "sound", "foreign"]


@pytest.mark.parametrize("text", [b"\xff\xfe\n{}\n", b"[" * 200_000 + b"\n{}\n", b"9" * 5_000 + b"\n{}\n"])
def test_a_ledger_that_is_no_text_stops_nothing(text: bytes, run: Path, inventory: Inventory) -> None:
    Ledger(run).path.write_bytes(text)
    found = heal(inventory, run.parents[1])
    assert [clean for clean, _ in of_ledger(found)] == [False]
    assert [result.clean for result in found if result.host == "here"] == [True]


# --- a ledger of ours, changed ----------------------------------------------------------------------------------------


def test_a_changed_undo_is_not_run_and_the_others_are(run: Path, inventory: Inventory, tmp_path: Path) -> None:
    ledger, evil, good = Ledger(run), tmp_path / "evil", tmp_path / "good"
    ledger.open(entry(tmp_path / "first", "f-0"), entry(good, "f-1"))
    first, second = lines_of(ledger)
    first["undo"] = {"do": f"touch '{evil}'", "clean": "true"}
    write(ledger, [first, second])
    ((clean, said),) = of_ledger(heal(inventory, run.parents[1]))
    assert not clean
    assert said.startswith("1 of its 2 lines were not written by this user")
    assert good.exists()
    assert not evil.exists()
    assert not (tmp_path / "first").exists()


def test_a_forged_closing_closes_nothing(run: Path, tmp_path: Path) -> None:
    ledger, owed = Ledger(run), entry(tmp_path / "undone")
    ledger.open(owed)
    with ledger.path.open("a") as file:
        file.write('{"id": "f-0", "state": "closed"}\n')
    assert ledger.still_open() == [owed]


@pytest.mark.parametrize("field", ["id", "state", "host", "at", "fuse", "undo"])
def test_every_field_is_signed(field: str, run: Path, tmp_path: Path) -> None:
    ledger = Ledger(run)
    ledger.open(entry(tmp_path / "trap"))
    (line,) = lines_of(ledger)
    assert is_ours(line)
    assert not is_ours(line | {field: "other"})
    assert not is_ours({k: v for k, v in line.items() if k != field})
    assert not is_ours(line | {"more": 1})


def test_a_folder_may_be_moved(run: Path, inventory: Inventory, tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    Ledger(run).open(entry(undone))
    shutil.move(run.parents[1], tmp_path / "elsewhere")
    found = heal(inventory, tmp_path / "elsewhere")
    assert undone.exists()
    assert of_ledger(found) == []
    assert all(result.clean for result in found)


# --- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_is_its_users_alone(state: Path) -> None:
    signed({})
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "ledger.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in state.iterdir()] == ["ledger.key"]


def test_many_at_once_make_one_key(state: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        signatures = {line["hmac"] for line in pool.map(lambda _: signed({"id": "f-0"}), range(64))}
    assert len(signatures) == 1
    assert [path.name for path in state.iterdir()] == ["ledger.key"]


@pytest.mark.parametrize(("key", "mode"), [(b"", 0o600), (b"x" * 31, 0o600), (b"x" * 33, 0o600), (b"x" * 32, 0o644)])
def test_a_key_that_is_none_is_an_error_and_stays(key: bytes, mode: int, state: Path) -> None:
    state.mkdir(parents=True)
    path = state / "ledger.key"
    path.write_bytes(key)
    path.chmod(mode)
    for use in (lambda: signed({}), lambda: is_ours({"hmac": "x"})):
        with pytest.raises(RecordingError, match=r"ledger\.key: a key is 32 bytes"):
            use()
    assert path.read_bytes() == key


def test_a_bad_key_keeps_no_host_from_being_swept(run: Path, inventory: Inventory, state: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    Ledger(run).open(entry(trap))
    (state / "ledger.key").write_bytes(b"short")
    found = heal(inventory, run.parents[1])
    assert [clean for clean, _ in of_ledger(found)] == [False]
    assert [result.clean for result in found if result.host == "here"] == [True]
    assert not trap.exists()
