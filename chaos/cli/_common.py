"""What several commands share: their options, the inventory that is meant, and printing a result."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chaos.errors import InputError

if TYPE_CHECKING:
    from chaos.spec.experiment import Experiment
    from chaos.spec.inventory import Inventory

InventoryOption = Annotated[
    Path | None, typer.Option("--inventory", "-i", help="The inventory; the lab's by default.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
RunsOption = Annotated[Path, typer.Option("--out", help="The folder of recordings.")]
ProcessesOption = Annotated[
    int | None, typer.Option(min=1, help="How many processes share the load.", show_default=False)
]
DaskOption = Annotated[
    str | None, typer.Option("--dask", help="The Dask scheduler whose workers make the load, like tcp://HOST:8786.")
]
RUNS = Path("runs")


def inventory_of(path: Path | None) -> Inventory:
    """Return the inventory that was named, or the lab's. Raises InputError when neither is there."""
    from chaos.conduct import lab_inventory
    from chaos.spec.inventory import load_inventory

    return load_inventory(path or lab_inventory())


def experiment_of(path: Path) -> Experiment:
    """Return an experiment, checked against every kind of fault there is."""
    from chaos import catalog
    from chaos.spec.experiment import load_experiment

    return load_experiment(path, catalog.faults())


def experiments_under(paths: Iterable[Path]) -> list[Path]:
    """Return the files named, and every .yaml or .yml below the folders named. Raises InputError for neither."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml"))
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: there is no such file or folder")
    if not files:
        raise InputError(f"no experiment: there is no .yaml file under {', '.join(map(str, paths))}")
    return files


def harmless(text: str) -> str:
    """Return text whose control characters, ESC and bidirectional overrides too, are made visible; lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def say(text: str, *, err: bool = False, indent: str = "") -> None:
    """Print lines in which a host's, or a recording's, own words may be: none of theirs drives the terminal.

    `indent` begins every line but the first, so that none passes for one of ours.
    """
    typer.echo(harmless(text).replace("\n", f"\n{indent}"), err=err)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
