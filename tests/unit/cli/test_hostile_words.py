"""What a host says never drives the terminal of whoever runs the harness."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from chaos.cli import app
from chaos.errors import CommandFailed
from chaos.run import heal, panic
from chaos.run.heal import Healed
from chaos.run.panic import Panicked
from chaos.spec.inventory import Inventory

SAID = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egone\nclean  worker-2: all is well\r"


def test_control_characters_of_an_error_are_shown_and_not_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise CommandFailed("worker-1", "true", 1, "", "\x1b]0;owned\x07\x1b[2J\u202egone\nsecond line\r")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(SystemExit):
        app.main()
    said = capsys.readouterr().err
    assert all(c.isprintable() or c == "\n" for c in said)
    assert said.endswith("gone\nsecond line\n")


@pytest.mark.parametrize("command", [["heal"], ["heal", "--check"], ["panic"], ["panic", "--release"]])
def test_what_a_host_said_is_shown_and_passes_for_no_line_of_ours(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found(*_: object) -> list[Healed]:
        return [Healed("worker-1", SAID, False, SAID)]

    def panicked(_: Inventory, __: Path) -> list[Panicked]:
        return [Panicked("worker-1", False, 1.0, tuple(found()))]

    for module, name, does in (
        (heal, "heal", found), (heal, "check", found), (panic, "panic", panicked), (panic, "release", found)
    ):  # fmt: skip
        monkeypatch.setattr(module, name, does)
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text("hosts: {worker-1: {connection: local}}\n")
    done = CliRunner().invoke(app.app, [*command, "-i", str(inventory)])
    assert done.exit_code == 5
    assert "gone" in done.output
    assert all(c.isprintable() or c == "\n" for c in done.output)
    assert not any(line.startswith("clean") for line in done.output.splitlines())
