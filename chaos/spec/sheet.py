"""A document being checked: models are tried on its parts, and every mistake is kept with its place.

Called by the readers of experiments and inventories. pydantic finds the mistakes; the words are ours, since its own
speak to programmers of models. What a fault's author or `units` says in a ValueError is passed on as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from chaos.errors import Mistakes
from chaos.spec.places import Document, Mistake, Path

M = TypeVar("M", bound=BaseModel)

_PHRASES = {
    "missing": "is missing",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "must have at least {min_length} items",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
_NOTHING_FOUND = ("missing", "too_short", "string_too_short")


class Sheet:
    """Gathers the mistakes of one document; `close` raises them all at once, in the order of the file."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._mistakes = list(document.mistakes)

    def wrong(self, path: Path, text: str) -> None:
        """Note a mistake."""
        self._mistakes.append(Mistake(self.document.place(path), path, text))

    def check(
        self,
        model: type[M],
        value: Any,
        at: Path,
        *,
        context: Mapping[str, Any] | None = None,
        beside: Collection[str] = (),
    ) -> M | None:
        """Return the value at a path as a model, or None with its mistakes noted.

        `beside` are keys that may stand there too and are checked elsewhere; they are offered to a misspelt one.
        """
        try:
            return model.model_validate(value, context=context)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.wrong((*at, *_within(value, detail)), _words(model, detail, beside))
        return None

    def close(self, error: type[Mistakes]) -> None:
        """Raise `error` with every mistake noted, or return when there is none."""
        if self._mistakes:
            ordered = sorted(self._mistakes, key=lambda m: (m.place.line, m.place.column))
            raise error([str(mistake) for mistake in ordered])

    def paths(self) -> set[Path]:
        """Return the paths that have a mistake."""
        return {mistake.path for mistake in self._mistakes}


def nearest(word: str, known: Collection[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def found(value: Any) -> str:
    """Return a value as a message names it."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, (list, tuple)) else repr(value)[:200]


def _within(value: Any, detail: ErrorDetails) -> Iterator[str | int]:
    """Yield the part of pydantic's location that stands in the document; the rest names its own validators."""
    *around, last = detail["loc"] or ("",)
    for step in (*around, last):
        if step in _keys_of(value):
            value = value[step]
            yield step
        elif step == last and detail["type"] == "missing":
            yield step


def _keys_of(value: Any) -> Collection[str | int]:
    if isinstance(value, dict):
        return value.keys()
    return range(len(value)) if isinstance(value, list) else ()


def _words(model: type[BaseModel], detail: ErrorDetails, beside: Collection[str]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        *within, _ = detail["loc"]
        allowed = [*([] if within else beside), *_keys(model, tuple(within))]
        return f"unknown key{nearest(str(detail['loc'][-1]), allowed)} (allowed: {', '.join(allowed)})"
    words = _PHRASES[kind].format(**context) if kind in _PHRASES else detail["msg"]
    return words if kind in _NOTHING_FOUND else f"{words}; found {found(detail['input'])}"


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys of the model at a location."""
    models = [model]
    for step in loc:
        tagged = [m for m in models if step in _tags(m)]
        fields = [f for m in models for name, f in m.model_fields.items() if step in (name, f.alias)]
        models = [m for f in fields for m in _models_in(f.annotation)] or tagged or models
    return [field.alias or name for m in models for name, field in m.model_fields.items()]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Return what pydantic tells the members of a union apart by: the values of `kind`, or the name of the class."""
    kinds = get_args(model.model_fields["kind"].annotation) if "kind" in model.model_fields else ()
    return (*kinds, model.__name__)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
