"""The three forms of `load`, told apart by their keys: our own, a locustfile, or traffic that is there already."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from chaos.spec.load import Load
from chaos.spec.load_locust import Locust
from chaos.spec.load_prometheus import Traffic

_FORMS = {"url": Load, "locust": Locust, "prometheus": Traffic}


def address_of(load: Load | Locust | Traffic) -> tuple[str, str | None]:
    """Return the key that says where a load goes, and the URL there, placeholders and all."""
    if isinstance(load, Locust):
        return "host", load.host
    return ("prometheus", load.prometheus) if isinstance(load, Traffic) else ("url", load.url)


def _form(value: Any) -> str:
    """Return the name of the class of a form; that of our own load for what names none."""
    if isinstance(value, tuple(_FORMS.values())):
        return type(value).__name__
    named = [key for key in _FORMS if key in value] if isinstance(value, dict) else []
    return _FORMS[named[0] if named else "url"].__name__


def _is_one(value: Any) -> Any:
    named = [key for key in _FORMS if key in value] if isinstance(value, dict) else []
    if len(named) > 1:
        raise ValueError(f"names {' and '.join(named)}; a load is one of url, locust and prometheus")
    return value


AnyLoad = Annotated[
    Annotated[Load, Tag("Load")] | Annotated[Locust, Tag("Locust")] | Annotated[Traffic, Tag("Traffic")],
    Discriminator(_form),
    BeforeValidator(_is_one),
]
