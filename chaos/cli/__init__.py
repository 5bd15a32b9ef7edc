"""The command `gameday`: one file a group of commands; each imports what it needs when it runs, so help is quick."""

from chaos.cli.app import main

__all__ = ["main"]
