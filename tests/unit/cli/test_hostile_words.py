"""What a host says never drives the terminal of whoever runs the harness."""

from __future__ import annotations

import pytest

from chaos.cli import app
from chaos.errors import CommandFailed


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
