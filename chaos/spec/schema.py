"""The JSON Schema (draft 2020-12) of an experiment, for editors: made of the models and the registry, so it can't lag.

An editor with yaml-language-server takes it by a first line `# yaml-language-server: $schema=experiment.schema.json`.
It is a help while writing and not the judge: what depends on two values at once, only `load_experiment` sees.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chaos.catalog import FaultRegistry, LoadChangeRegistry, ProbeRegistry, load_changes
from chaos.spec.experiment import Experiment, LoadFrame, LoadMomentFrame, MomentFrame, StepFrame, frame_of
from chaos.spec.probes import written

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema(
    faults: FaultRegistry, probes: ProbeRegistry, changes: LoadChangeRegistry | None = None
) -> dict[str, Any]:
    """Return the schema of an experiment file, with a form of a step for each kind of fault, and one for each probe.

    `changes` of the load are those of the catalogue by default.
    """
    kinds = dict(faults.beside(load_changes() if changes is None else changes))
    asked = {kind: written(cls) for kind, cls in probes}
    frames = (StepFrame, MomentFrame, LoadFrame, LoadMomentFrame)
    models: list[type[BaseModel]] = [Experiment, *frames, *kinds.values(), *asked.values()]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    definitions = schema["$defs"]

    def definition(model: type[BaseModel]) -> dict[str, Any]:
        found: dict[str, Any] = definitions[refs[model, "validation"]["$ref"].rpartition("/")[2]]
        return found

    experiment = definition(Experiment)
    steps = [_step(kind, definition(cls), definition(frame_of(cls))) for kind, cls in kinds.items()]
    _list_of(experiment, "faults", steps)
    _list_of(experiment, "probes", [_step(kind, definition(cls), {}) for kind, cls in asked.items()])
    return {"$schema": DIALECT, **experiment, "title": "gameday experiment", "$defs": definitions}


def _list_of(experiment: dict[str, Any], key: str, forms: list[dict[str, Any]]) -> None:
    described = experiment["properties"][key].get("description", "")
    experiment["properties"][key] = {"type": "array", "items": {"oneOf": forms}, "description": described}


def _step(kind: str, fault: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a step: its kind, where and when (a probe has no such frame), and its own fields beside."""
    named = {"kind": {"const": kind, "description": fault.get("description", "").partition("\n")[0]}}
    return {
        "title": kind,
        "type": "object",
        "properties": named | frame.get("properties", {}) | fault.get("properties", {}),
        "required": ["kind", *frame.get("required", []), *fault.get("required", [])],
        "additionalProperties": False,
    }
