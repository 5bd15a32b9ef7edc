"""Names, addresses, ports and files as an inventory writes them. Nothing is looked up: no file, no name, no host."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path as FilePath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StrictInt, ValidationInfo

from chaos.spec.fields import NotEmpty, Text
from chaos.spec.load import check_url

# a fuse's folder and its unit bear it beside the run and the fault, and a name of a file has 255 bytes at most
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is no {what}")
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    try:
        ip_address(value)
    except ValueError:
        if not _HOSTNAME.fullmatch(value) or re.fullmatch(r"[0-9.]+", value):
            raise ValueError(f"{value!r} is neither an IPv4 or IPv6 address nor the name of a host") from None
    return value


def _endpoint(value: str) -> str:
    check_url(f"http://{value}/")
    if re.search(r"[/?#@\\]", value):
        raise ValueError(f'{value!r} is no host or host:port; write it like "10.0.0.10:8000" or "[::1]:8000"')
    return value


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not value:
        return value
    try:
        path = FilePath(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{value!r}: {error}") from error
    return (info.context or {}).get("folder", FilePath()) / path


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise ValueError(f"{value} is no port; allowed are 1 to 65535")
    return value


def _numeric(value: str) -> str:
    found = number(value)
    if found is None:
        raise ValueError(f"{value!r} is no IPv4 or IPv6 address; names are not looked up here")
    return str(found)


Name = Annotated[Text, _matching(_NAME, "name of a host or group; allowed are letters, digits, _ - and ., 128 at most")]
EnvironmentName = Annotated[Text, _matching(_ENVIRONMENT_NAME, "name of an environment variable")]
LocalPath = Annotated[FilePath, BeforeValidator(_from_folder)]
Argv = Annotated[tuple[Text, ...], NotEmpty]
HostAddress = Annotated[Text, AfterValidator(_address)]
NumericAddress = Annotated[Text, AfterValidator(_numeric)]
Endpoint = Annotated[Text, AfterValidator(_endpoint)]
Port = Annotated[StrictInt, AfterValidator(_port)]


def number(address: str) -> IPv4Address | IPv6Address | None:
    """Return an address as a number; None for a name."""
    try:
        return ip_address(address)
    except ValueError:
        return None
