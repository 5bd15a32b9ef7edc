"""The JSON Schema (draft 2020-12) of an experiment, for editors: made of the models and the registry, so it can't lag.

An editor with yaml-language-server takes it by a first line `# yaml-language-server: $schema=experiment.schema.json`.
It is a help while writing and not the judge: what depends on two values at once, only `load_experiment` sees.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chaos.catalog import FaultRegistry
from chaos.spec.experiment import Experiment, MomentFrame, StepFrame, frame_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema(faults: FaultRegistry) -> dict[str, Any]:
    """Return the schema of an experiment file, with one form of a step for each kind of fault."""
    kinds = dict(faults)
    models: list[type[BaseModel]] = [Experiment, StepFrame, MomentFrame, *kinds.values()]
    refs, schema = models_json_schema([(model, "validation") for model in models])
    definitions = schema["$defs"]

    def definition(model: type[BaseModel]) -> dict[str, Any]:
        found: dict[str, Any] = definitions[refs[model, "validation"]["$ref"].rpartition("/")[2]]
        return found

    steps = [_step(kind, definition(cls), definition(frame_of(cls))) for kind, cls in kinds.items()]
    experiment = definition(Experiment)
    described = experiment["properties"]["faults"].get("description", "")
    experiment["properties"]["faults"] = {"type": "array", "items": {"oneOf": steps}, "description": described}
    return {"$schema": DIALECT, **experiment, "title": "gameday experiment", "$defs": definitions}


def _step(kind: str, fault: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a step: its kind, where and when, and the fault's own fields beside them."""
    named = {"kind": {"const": kind, "description": fault.get("description", "").partition("\n")[0]}}
    return {
        "title": kind,
        "type": "object",
        "properties": named | frame["properties"] | fault.get("properties", {}),
        "required": ["kind", *frame["required"], *fault.get("required", [])],
        "additionalProperties": False,
    }
