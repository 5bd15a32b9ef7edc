"""The command line itself: the commands by name, and what an error becomes: a plain message and its exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chaos.cli import author, kinds, lab, operate, probe, review
from chaos.cli._common import say
from chaos.errors import ChaosError

app = typer.Typer(
    name="gameday",
    help="Declare a fault, apply it for real, measure what it costs, and always let go.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help needs no rich, and is there in half the time
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 pass · 1 a budget is broken · 2 wrong input · 3 refused · 4 unknown · 5 STUCK",
)
app.command()(author.check)
app.command()(author.schema)
app.command()(author.plan)
app.command()(kinds.catalog)
app.command()(operate.preflight)
app.command()(operate.run)
app.command()(operate.heal)
app.command()(operate.panic)
app.command()(review.judge)
app.command()(review.report)
app.command()(probe.probe)
app.add_typer(lab.app, name="lab")


def _version(wanted: bool) -> None:
    if wanted:
        from chaos import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; a ChaosError ends it with its message and its exit code."""
    try:
        app()
    except ChaosError as error:
        say(f"gameday: {error}", err=True)
        sys.exit(int(error.exit_code))
