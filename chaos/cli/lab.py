"""gameday lab: real hosts on this machine, and the reference appliance on them."""

from __future__ import annotations

import os
import subprocess
from typing import Annotated, Any, Literal

import typer

from chaos.cli._common import JsonOption, print_json

app = typer.Typer(help="Real hosts on this machine, with a gateway and workers on them.", no_args_is_help=True)


@app.command()
def up(
    kind: Annotated[Literal["auto", "vm", "netns"], typer.Option(help="vm: QEMU; netns: network namespaces.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, max=16)] = 3,
    owner_pid: Annotated[int | None, typer.Option(help="Take the lab down when this process ends.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start the lab; it goes on until `lab down`."""
    from chaos import lab

    started = lab.up(kind, workers, owner_pid, say=lambda text: typer.echo(text, err=True))
    _show(started, as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the lab; exit 3 when it is not up."""
    from chaos import lab

    running = lab.status()
    if running is None:
        typer.echo("the lab is down; `gameday lab up` starts it", err=True)
        raise typer.Exit(3)
    _show(running, as_json)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def ssh(context: typer.Context, host: str) -> None:
    """Open a shell on a host of the lab, or run a command there."""
    from chaos import lab

    argv = [*lab.ssh_command(host), *context.args]
    raise typer.Exit(subprocess.run(argv, check=False, env=os.environ).returncode)


@app.command()
def down() -> None:
    """Stop the lab; nothing of it stays."""
    from chaos import lab

    lab.down()


def _show(running: Any, as_json: bool) -> None:
    facts = {
        "kind": running.kind,
        "why": running.why,
        "hosts": list(running.hosts),
        "endpoint": running.endpoint,
        "inventory": str(running.inventory_path),
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        typer.echo(f"{name:<10} {', '.join(value) if isinstance(value, list) else value}")
