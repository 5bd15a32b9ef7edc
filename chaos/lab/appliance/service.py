"""What the gateway and the worker have in common: routes, `/admin/settings`, and running until SIGTERM.

A part subclasses `Service`, adds its routes, and `run_service` gives it a loop, a listening socket and signals.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import socket
from collections.abc import Callable

import uvloop

from chaos.errors import InputError
from chaos.lab.appliance import metrics, openai
from chaos.lab.appliance.http1 import Exchange, Server
from chaos.lab.appliance.settings import Settings, change, describe

log = logging.getLogger(__name__)

Handler = Callable[[Exchange], None]


class Service:
    """Answers by path and method. A subclass adds to `routes`, writes `metrics`, and may use the hooks after it."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        self.routes: dict[str, dict[str, Handler]] = {
            "/metrics": {"GET": self._metrics},
            "/admin/settings": {"GET": self._settings_shown, "PUT": self._change, "PATCH": self._change},
        }

    def handle(self, exchange: Exchange) -> None:
        """Give the exchange to its route; 404 and 405 otherwise."""
        methods = self.routes.get(exchange.path)
        if methods is None:
            refuse(exchange, 404, f"no {exchange.path} here; there are: {', '.join(self.routes)}")
        elif (handler := methods.get(exchange.method)) is None:
            allowed = ", ".join(methods)
            refuse(exchange, 405, f"{exchange.path} takes {allowed}; found {exchange.method}", f"allow: {allowed}\r\n")
        else:
            handler(exchange)

    def _metrics(self, exchange: Exchange) -> None:
        exchange.respond(200, self.metrics(), f"content-type: {metrics.CONTENT_TYPE}\r\n".encode())

    def _settings_shown(self, exchange: Exchange) -> None:
        exchange.respond(200, json.dumps(describe(self._settings)).encode())

    def _change(self, exchange: Exchange) -> None:
        try:
            change(self._settings, json.loads(exchange.body))
        except (ValueError, RecursionError) as error:
            refuse(exchange, 400, f"the body is no JSON: {error}")
        except InputError as error:
            refuse(exchange, 400, str(error))
        else:
            log.info("%s: settings changed: %s", self.name, exchange.body.decode())
            self.settings_changed()
            self._settings_shown(exchange)

    def metrics(self) -> bytes:
        """Return the page of `/metrics`."""
        raise NotImplementedError

    def settings_changed(self) -> None:
        """Take up a change that is not simply read where it is needed."""

    def open(self) -> None:
        """Start what runs beside the requests; the loop is running."""

    def close(self) -> None:
        """SIGTERM came: requests in progress may still end, new ones are not wanted."""


def refuse(exchange: Exchange, status: int, message: str, headers: str = "") -> None:
    """Answer with an error in OpenAI's form; `headers` are whole lines."""
    exchange.respond(status, openai.error(status, message), f"content-type: application/json\r\n{headers}".encode())


def listening_socket(where: str) -> socket.socket:
    """Open `HOST:PORT`, `[IPV6]:PORT`, or take over an inherited listening socket, `fd:N`."""
    host, _, port = where.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--listen: asked {where!r}, allowed: HOST:PORT or fd:N")
    if host == "fd":
        return _inherited(int(port))
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host.strip("[]"), int(port)))
    return listener


def _inherited(number: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=number)
        accepting = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise InputError(f"--listen: fd:{number} is no socket: {error}") from None
    if not accepting:
        raise InputError(f"--listen: fd:{number} is a socket that does not listen")
    return listener


def run_service(service: Service, listener: socket.socket, drain: Callable[[], float]) -> None:
    """Serve until SIGTERM or SIGINT; requests in progress then get `drain()` s."""
    uvloop.run(_serve(service, listener, drain))


async def _serve(service: Service, listener: socket.socket, drain: Callable[[], float]) -> None:
    stopped = asyncio.Event()

    def stop() -> None:
        service.close()
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    service.open()
    gc.freeze()  # what is alive now stays alive: the collector need not look at it again
    host, port = listener.getsockname()[:2]
    log.info("%s: listening on %s port %s", service.name, host, port)
    await Server(service.handle, openai.error).serve(stopped, drain, sock=listener)
    log.info("%s: ended", service.name)
