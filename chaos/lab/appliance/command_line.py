"""The command line of `worker` and `gateway`.

Every setting of `settings.py` is an option of its part (`max_batch`: `--max-batch`). Exit status 2: the command line is
wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import fields

from chaos.errors import Exit, InputError
from chaos.lab.appliance.settings import GatewaySettings, Settings, WorkerSettings, change


def main() -> int:
    """Run a part; return its exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    arguments = _parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return Exit.BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos.lab.appliance", description="The reference appliance.")
    parts = parser.add_subparsers(required=True, metavar="PART")
    worker = parts.add_parser("worker", help="answer chat completions")
    _add_service(worker, WorkerSettings(), "worker")
    worker.set_defaults(run=_worker)
    gateway = parts.add_parser("gateway", help="pass them on to workers")
    _add_service(gateway, GatewaySettings(), "gateway")
    gateway.add_argument("--worker", action="append", required=True, metavar="NAME=http://HOST:PORT")
    gateway.set_defaults(run=_gateway)
    supervise = parts.add_parser("supervise", help="start a command, again and again")
    supervise.add_argument("argv", nargs="+", metavar="ARGV")
    supervise.set_defaults(run=_supervise)
    return parser


def _add_service(parser: argparse.ArgumentParser, settings: Settings, name: str) -> None:
    parser.add_argument("--name", default=name)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT|fd:N")
    for entry in fields(settings):
        text = f"{entry.metadata['help']} (default {entry.default})".replace("%", "%%")
        kind, option = type(entry.default), f"--{entry.name.replace('_', '-')}"
        parser.add_argument(option, type=kind, default=argparse.SUPPRESS, dest=entry.name, help=text)


def _take(settings: Settings, arguments: argparse.Namespace) -> None:
    asked = {entry.name: getattr(arguments, entry.name) for entry in fields(settings) if entry.name in arguments}
    change(settings, asked, running=False)


def _worker(arguments: argparse.Namespace) -> int:
    from chaos.lab.appliance.service import listening_socket, run_service
    from chaos.lab.appliance.worker import Worker

    settings = WorkerSettings()
    _take(settings, arguments)
    run_service(Worker(arguments.name, settings), listening_socket(arguments.listen), lambda: settings.drain)
    return 0


def _gateway(arguments: argparse.Namespace) -> int:
    from chaos.lab.appliance.gateway import Gateway
    from chaos.lab.appliance.service import listening_socket, run_service
    from chaos.lab.appliance.upstream import parse_worker

    settings = GatewaySettings()
    _take(settings, arguments)
    workers = [parse_worker(text) for text in arguments.worker]
    gateway = Gateway(arguments.name, settings, workers)
    run_service(gateway, listening_socket(arguments.listen), lambda: settings.drain)
    return 0


def _supervise(arguments: argparse.Namespace) -> int:
    from chaos.lab.appliance.supervise import supervise

    return supervise(arguments.argv)
