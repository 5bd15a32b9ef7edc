"""Names from YAML that reach a host's kernel."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

_MOST = 15  # IFNAMSIZ is 16, with the zero behind the name (netdevice(7))
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*")


def _interface(value: str) -> str:
    if value and (len(value) > _MOST or not _INTERFACE.fullmatch(value)):
        raise ValueError(
            f"{value!r} is no name of an interface; allowed are up to {_MOST} letters, digits, _ . : @ and -, "
            "the first a letter, a digit or _"
        )
    return value


InterfaceName = Annotated[
    str,
    AfterValidator(_interface),
    WithJsonSchema({"type": "string", "maxLength": _MOST, "pattern": f"^({_INTERFACE.pattern})?$"}),
]
"""An interface of a host, or nothing. The kernel allows more, and `ip -batch`, `tc -batch` and nft(8) read quotes,
backslashes and # by rules of their own, each its own: what they could take for anything but a word is refused here.
"""
