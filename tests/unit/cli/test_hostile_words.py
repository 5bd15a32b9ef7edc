"""What a host says never drives the terminal of whoever runs the harness."""

from __future__ import annotations

import subprocess
import sys
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


def test_what_is_logged_of_commands_drives_no_terminal() -> None:
    logged = f"""if True:
        import logging
        from chaos.cli.operate import show_actions
        show_actions()
        logging.getLogger("gameday.targets").debug("worker-1: %s", {SAID!r})
    """
    done = subprocess.run([sys.executable, "-c", logged], capture_output=True, text=True, check=True)
    assert "gone" in done.stderr
    assert all(c.isprintable() or c == "\n" for c in done.stderr)


def test_what_stands_in_an_experiment_drives_no_terminal(tmp_path: Path) -> None:
    evil = r"\e\e0;owned\a\eJ\u202E"
    (tmp_path / "inventory.yaml").write_text("hosts: {box: {connection: local, endpoint: '127.0.0.1:1'}}\n")
    (tmp_path / "x.yaml").write_text(
        f"""name: "{evil}"
load: {{url: "http://{{box}}/", arrivals: {{process: constant, rate: 1/s}}}}
timeline: {{warmup: 0s, baseline: 1s, observe: 2s}}
faults: [{{kind: process_pause, on: box, match: "{evil}", for: 1s}}]
"""
    )
    done = CliRunner().invoke(app.app, ["plan", str(tmp_path / "x.yaml"), "-i", str(tmp_path / "inventory.yaml")])
    assert done.exit_code == 0, done.output
    assert "owned" in done.output
    assert all(c.isprintable() or c == "\n" for c in done.output)
