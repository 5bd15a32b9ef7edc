"""Switching a host on and off from outside, by commands that the inventory names.

The commands run on the controller's machine. `status` prints `on` or `off`; `on` and `off` are repeatable and end with
0 once the controller has accepted them.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from shlex import join

from chaos.contracts import Rendered
from chaos.errors import CommandFailed


@dataclass(frozen=True)
class CommandPower:
    """A power controller behind three commands (argv each)."""

    host: str
    on: tuple[str, ...]
    off: tuple[str, ...]
    status: tuple[str, ...]

    def switch(self, on: bool) -> None:
        """Cut or give power. Raises CommandFailed."""
        self._run(self.on if on else self.off)

    def is_on(self) -> bool:
        """Return whether the controller says "on". Raises CommandFailed."""
        return self._run(self.status).strip() == "on"

    def render(self, on: bool) -> Rendered:
        """Return the switching as sh, for a fuse on the controller's machine."""
        wanted = "on" if on else "off"
        return Rendered(join(self.on if on else self.off), f'[ "$({join(self.status)})" = {wanted} ]')

    def _run(self, argv: tuple[str, ...]) -> str:
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandFailed(self.host, join(argv), 126, "", f"the power command did not run: {error}") from error
        if done.returncode:
            raise CommandFailed(self.host, join(argv), done.returncode, done.stdout, done.stderr)
        return done.stdout
