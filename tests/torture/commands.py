"""What a trial starts: the controller of its fault, and `gameday heal`.

Both have a state folder of the trial's own, for the ledger is signed with the key in it, and an inventory of one host.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chaos.record.events import read_jsonl
from tests.stopped_controllers import Batch
from tests.torture.hosts import Host

LEASE = 3.0  # s
HOLD = 1.5  # s
IMPATIENT = 2.0  # s for a controller, or heal, to say STUCK in


@dataclass(frozen=True)
class Ended:
    """How a controller ended: its exit status, or minus its signal, and the steps that it took."""

    status: int
    steps: int


@dataclass(frozen=True)
class Commands:
    """Those of one trial; all that they write is below `folder`."""

    host: Host
    folder: Path

    def controller(self, kind: str, parameters: dict[str, Any], **more: Any) -> subprocess.Popen[str]:
        """Start a controller that lives a fault; `more` is what else its SPEC says."""
        self._prepare()
        spec = {
            "inventory": str(self._inventory), "host": self.host.name, "kind": kind, "parameters": parameters,
            "folder": str(self._recording), "lease": LEASE, "hold": HOLD,
        } | more  # fmt: skip
        argv = self._python("tests.torture.controller", json.dumps(spec))
        return subprocess.Popen(
            argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self._environment
        )

    def stopped_controller(self, kind: str, parameters: dict[str, Any], place: int | None, kills: str) -> Ended:
        """Run a controller that is stopped after so many steps (None: never), and `kills` with it."""
        self._prepare()
        batch = Batch(
            kind, parameters, LEASE, str(self.folder / "runs"), {}, {self.host.name: place}, kills,
            inventory=str(self._inventory),
        )  # fmt: skip
        argv = self._python("tests.stopped_controllers")
        done = subprocess.run(
            argv, input=batch.dumps(), capture_output=True, text=True, timeout=300, env=self._environment, check=True
        )
        _, status, steps = done.stdout.split()
        return Ended(int(status), int(steps))

    def has_happened(self, event: str) -> bool:
        """Whether the controller has noted such an event."""
        noted = self._recording / "events.jsonl"
        return noted.exists() and any(line["event"] == event for line in read_jsonl(noted))

    def heal(self, *options: str, patience: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run it."""
        gameday = ["chaos"] if patience is None else ["tests.torture.impatient", str(patience)]
        argv = self._python(*gameday, "heal", "-i", str(self._inventory), "--out", str(self.folder / "runs"), *options)
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, env=self._environment)

    def heal_wrong(self) -> list[str]:
        """Heal, and check: both must end with 0."""
        done = {options: self.heal(*options) for options in ((), ("--check",))}
        return [
            f"heal {' '.join(options)}: {said.returncode}: {said.stdout}{said.stderr}"
            for options, said in done.items()
            if said.returncode
        ]

    def _prepare(self) -> None:
        self._recording.mkdir(parents=True)
        inventory = yaml.safe_load(self.host.inventory_path.read_text())
        inventory |= {"hosts": {self.host.name: inventory["hosts"][self.host.name]}, "groups": {}}
        self._inventory.write_text(yaml.safe_dump(inventory))

    def _python(self, *arguments: str) -> list[str]:
        return [*self.host.enter_command, sys.executable, "-m", *arguments]

    @property
    def _recording(self) -> Path:
        return self.folder / "runs" / "torture" / self.folder.name

    @property
    def _inventory(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"XDG_STATE_HOME": str(self.folder / "state")}
