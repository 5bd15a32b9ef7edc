"""`gameday catalog`: what each kind of fault and of health probe takes, does, and how it is confirmed and let go.

All of it is read off the classes: the descriptions of their fields, the schema of their types, and the first words of
the methods that act. So nothing here can lag behind the code.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from chaos.cli._common import JsonOption, print_json, say
from chaos.errors import UnknownKind

_ACTS_ON = {
    "host": "the host, over SSH or by netlink; its fuse stands there too",
    "controller": "the host's power controller; its fuse stands on the controller's machine",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_WORDS = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true | false", "object": "a mapping",
}  # fmt: skip
_PER_SI = {"ms": 1e3, "/s": 1.0, "MB": 1e-6, "mbit": 8e-6, "%": 100.0}


def catalog(
    kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None, as_json: JsonOption = False
) -> None:
    """List the kinds of faults, load changes and probes: parameters, needs, dose, letting go, an example."""
    from chaos import catalog as kinds

    entries = [
        *(_fault_entry(*known) for known in kinds.faults()),
        *(_change_entry(*known) for known in kinds.load_changes()),
        *(_probe_entry(*known) for known in kinds.health_probes()),
    ]
    wanted = [entry for entry in entries if kind in (None, entry["kind"])]
    if not wanted:
        known = ", ".join(entry["kind"] for entry in entries)
        raise UnknownKind(f"{kind!r} is neither a fault, nor a change of the load, nor a probe (there are: {known})")
    if as_json:
        print_json(wanted)
        return
    for entry in wanted:
        typer.secho(f"{entry['kind']} ({entry['is']})", bold=True, nl=False)
        say(f"  {entry['summary']}")
        say("\n".join((*_parameter_lines(entry["parameters"]), *_other_lines(entry), "")))


def catalog_table(registry: Any) -> str:
    """Return the kinds as a Markdown table: what each does, its parameters, what letting go does to the traffic."""
    lines = ["| kind | does | parameters | letting go |", "| --- | --- | --- | --- |"]
    for kind, cls in registry:
        entry = _entry(kind, cls)
        names = ", ".join(f"`{name}`" for name in entry["parameters"]) or "none"
        lines.append(f"| `{kind}` | {entry['summary']} | {names} | {entry['release']} |")
    return "\n".join(lines) + "\n"


def _entry(kind: str, cls: Any) -> dict[str, Any]:
    from chaos.contracts import LoadChange

    return _change_entry(kind, cls) if issubclass(cls, LoadChange) else _fault_entry(kind, cls)


def _change_entry(kind: str, cls: Any) -> dict[str, Any]:
    return {
        "is": "load change", "kind": kind, **_described(cls),
        "acts_on": "the load's own schedule, and on no host; it ends with the load's process", "needs": [],
        "dose": _words_of(cls.achieved), "release": cls.release, "outlives_a_reboot": False, "example": cls.example,
    }  # fmt: skip


def _fault_entry(kind: str, cls: Any) -> dict[str, Any]:
    return {
        "is": "fault", "kind": kind, **_described(cls), "acts_on": _ACTS_ON[cls.undo_from],
        "needs": [f"{need.name} ({need.package})" for need in cls.needs], "dose": _dose(cls),
        "release": cls.release, "outlives_a_reboot": _may_persist(cls), "example": cls.example,
    }  # fmt: skip


def _may_persist(cls: Any) -> bool:
    from chaos.contracts import Fault

    return cls.persists is not Fault.persists


def _dose(cls: Any) -> str:
    """Return how the dose is confirmed, in the words of the method that does it."""
    from chaos.contracts import Fault

    return _words_of(cls.is_applied if cls.dose is Fault.dose else cls.dose)


def _words_of(method: Any) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0]


def _probe_entry(kind: str, cls: Any) -> dict[str, Any]:
    from chaos.spec.probes import written

    return {"is": "probe", "kind": kind, **_described(written(cls))}


def _described(cls: Any) -> dict[str, Any]:
    schema = cls.model_json_schema()
    keys = {field.alias or name: field for name, field in cls.model_fields.items()}
    fields = {
        key: {
            "takes": _takes(found := schema["properties"][key], schema.get("$defs", {})),
            "default": _default(found, key in schema.get("required", ())),
            "description": " ".join((field.description or "").split()),
        }
        for key, field in keys.items()
    }
    return {"summary": (cls.__doc__ or "").strip().splitlines()[0], "parameters": fields}


def _default(schema: dict[str, Any], required: bool) -> str:
    """Return a default as it would be written; a quantity is kept in SI and shown in the unit of its example."""
    given = schema.get("default")
    if required:
        return "required"
    if given in (None, "", [], {}) or ("examples" in schema and not given):
        return "none"
    if "examples" in schema:
        unit = schema["examples"][0].lstrip("0123456789.")
        return f"{given * _PER_SI[unit]:g}{unit}"
    return json.dumps(given).strip('"')


def _takes(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what may be written, from the JSON Schema of a field."""
    if "$ref" in schema:
        return _takes(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "examples" in schema:
        return f"like {json.dumps(schema['examples'][0])}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        forms = (_takes(form, definitions) for form in schema["anyOf"] if form.get("type") != "null")
        return " or ".join(dict.fromkeys(forms))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"a list of {_takes(schema.get('items', {}), definitions)}"
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([_WORDS.get(kind, kind), *bounds])


def _parameter_lines(parameters: dict[str, Any]) -> Iterator[str]:
    widths = [max((len(f) for f in column), default=0) for column in zip(*map(_cells, parameters.items()), strict=True)]
    for item in parameters.items():
        name, takes, default = (cell.ljust(width) for cell, width in zip(_cells(item), widths, strict=True))
        yield f"    {name}  {takes}  {default}  {item[1]['description']}"


def _cells(item: tuple[str, Any]) -> tuple[str, str, str]:
    return item[0], item[1]["takes"], item[1]["default"]


def _other_lines(entry: dict[str, Any]) -> Iterator[str]:
    if entry["is"] == "probe":
        return
    outlives = "; what outlives a reboot is undone at boot as well" if entry["outlives_a_reboot"] else ""
    said = {
        "acts on": entry["acts_on"] + outlives,
        "needs": ", ".join(entry["needs"]) or "nothing",
        "dose": entry["dose"],
        "letting go": entry["release"],
        "example": entry["example"],
    }
    for title, text in said.items():
        yield textwrap.fill(text, 110, initial_indent=f"  {title + ':':<12}", subsequent_indent=" " * 14)
