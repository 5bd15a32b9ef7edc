"""Switching a host on and off from outside, by three lines of sh that run on the controller's machine.

`status` prints `on` or `off`; `on` and `off` are repeatable and end with 0 once the power controller has accepted them.
Whatever speaks to a power controller (the user's own commands, ipmitool(1), our Redfish client) is rendered as these
three, since a fuse must be able to give the power back when nothing of the run lives any more.

A password comes from an environment variable and stands in none of the lines. The fuse keeps it in a file of its own
directory, `secret.VARIABLE`, readable by its owner alone and gone with it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from shlex import join
from typing import Self

from chaos.contracts import Rendered
from chaos.errors import CommandFailed


@dataclass(frozen=True)
class PowerController:
    """A power controller behind three lines of sh; `secret` is the environment variable that they need, or ""."""

    host: str
    on: str
    off: str
    status: str
    secret: str = ""

    @classmethod
    def by_commands(cls, host: str, on: tuple[str, ...], off: tuple[str, ...], status: tuple[str, ...]) -> Self:
        """The user's own commands (argv each)."""
        return cls(host, join(on), join(off), join(status))

    @classmethod
    def by_redfish(cls, host: str, url: str, user: str, secret: str, system: str | None, ca: str | None) -> Self:
        """`chaos.targets.redfish` as a program of its own."""
        client = [sys.executable, "-P", "-m", "chaos.targets.redfish", url, "--user", user, "--password-env", secret]
        client += ["--system", system] if system else []
        client += ["--ca", ca] if ca else []
        on, off, status = (join([*client, what]) for what in ("on", "off", "status"))
        return cls(host, on, off, status, secret)

    @classmethod
    def by_ipmi(cls, host: str, address: str, port: int, user: str, secret: str, cipher_suite: int | None) -> Self:
        """ipmitool(1) over RMCP+; -E takes the password from IPMI_PASSWORD. What is so already is not asked for."""
        argv = ["ipmitool", "-I", "lanplus", "-H", address, "-p", str(port), "-U", user, "-E", "-L", "OPERATOR"]
        argv += ["-C", str(cipher_suite)] if cipher_suite else []
        tool = f'IPMI_PASSWORD="${secret}" {join(argv)} chassis power'
        told = "case $said in *' is on') echo on;; *' is off') echo off;; *) echo \"$said\" >&2; exit 1;; esac"
        status = f"said=$({tool} status) || exit 1; {told}"
        on, off = (f'[ "$({status})" = {what} ] || {tool} {what}' for what in ("on", "off"))
        return cls(host, on, off, status, secret)

    def switch(self, on: bool) -> None:
        """Cut or give power. Raises CommandFailed."""
        self._run(self.on if on else self.off)

    def is_on(self) -> bool:
        """Return whether the controller says "on". Raises CommandFailed."""
        return self._run(self.status).strip() == "on"

    def render(self, on: bool) -> Rendered:
        """Return the switching as sh, for a fuse on the controller's machine."""
        wanted = "on" if on else "off"
        until = f'[ "$({self.status})" = {wanted} ]'
        secrets = (self.secret,) if self.secret else ()
        return Rendered(self._opened(self.on if on else self.off), self._opened(until), secrets=secrets)

    def _opened(self, script: str) -> str:
        """Return a script that finds its secret in the environment, or beside the fuse that runs it."""
        if not self.secret:
            return script
        name = self.secret
        return f': "${{{name}:=$(cat secret.{name})}}"; export {name}\n{script}'

    def _run(self, script: str) -> str:
        try:
            done = subprocess.run(
                ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandFailed(self.host, script, 126, "", f"the power command did not run: {error}") from error
        if done.returncode:
            raise CommandFailed(self.host, script, done.returncode, done.stdout, done.stderr)
        return done.stdout
