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
from tempfile import mkstemp
from typing import Any

import yaml

from chaos.record.events import read_jsonl
from tests.stopped_controllers import Batch
from tests.torture.forks import Child
from tests.torture.hosts import Host

LEASE = 3.0  # s
HOLD = 1.5  # s
IMPATIENT = 2.0  # s for a controller, or heal, to say STUCK after: what is STUCK does not become so by waiting
_MOST = 300.0  # s for whatever is waited for, whatever else the machine does


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

    def controller(self, kind: str, parameters: dict[str, Any], patience: float | None = None, **more: Any) -> Child:
        """Start one that lives a fault, and says STUCK after `patience` (s); `more` is what else it is told."""
        self._prepare()
        spec = {
            "inventory": str(self._inventory), "host": self.host.name, "kind": kind, "parameters": parameters,
            "folder": str(self._recording), "lease": LEASE, "hold": HOLD,
        } | more  # fmt: skip
        return self._start("controller", [json.dumps(spec)], patience)

    def stopped_controller(self, kind: str, parameters: dict[str, Any], place: int | None, kills: str) -> Ended:
        """Run a controller that is stopped after so many steps (None: never), and `kills` with it."""
        self._prepare()
        batch = Batch(
            kind, parameters, LEASE, str(self.folder / "runs"), {}, {self.host.name: place}, kills,
            inventory=str(self._inventory),
        )  # fmt: skip
        argv = [sys.executable, "-m", "tests.stopped_controllers"]
        environment = os.environ | self._state_folder
        done = subprocess.run(
            argv, input=batch.dumps(), capture_output=True, text=True, timeout=_MOST, env=environment, check=True
        )
        _, status, steps = done.stdout.split()
        return Ended(int(status), int(steps))

    def has_happened(self, event: str) -> bool:
        """Whether the controller has noted such an event."""
        noted = self._recording / "events.jsonl"
        return noted.exists() and any(line["event"] == event for line in read_jsonl(noted))

    def heal(self, *options: str, patience: float | None = None) -> tuple[int | None, str]:
        """Run it, with so much patience (s) for a fuse; return how it ended and what it said."""
        arguments = ["heal", "-i", str(self._inventory), "--out", str(self.folder / "runs"), *options]
        done = self._start("gameday", arguments, patience)
        return done.wait(_MOST), done.said()

    def heal_wrong(self) -> list[str]:
        """Heal, and check: both must end with 0."""
        done = {options: self.heal(*options) for options in ((), ("--check",))}
        return [
            f"heal {' '.join(options)} ended with {status}: {said}"
            for options, (status, said) in done.items()
            if status != 0
        ]

    def _start(self, do: str, arguments: list[str], patience: float | None) -> Child:
        _, output = mkstemp(dir=self.folder, prefix=do)
        return self.host.forks.start(do, arguments, Path(output), environment=self._state_folder, patience=patience)

    def _prepare(self) -> None:
        self._recording.mkdir(parents=True)
        inventory = yaml.safe_load(self.host.inventory_path.read_text())
        inventory |= {"hosts": {self.host.name: inventory["hosts"][self.host.name]}, "groups": {}}
        self._inventory.write_text(yaml.safe_dump(inventory))

    @property
    def _recording(self) -> Path:
        return self.folder / "runs" / "torture" / self.folder.name

    @property
    def _inventory(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def _state_folder(self) -> dict[str, str]:
        return {"XDG_STATE_HOME": str(self.folder / "state")}
