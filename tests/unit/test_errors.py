"""The tree of errors that is drawn is the tree there is."""

from __future__ import annotations

import importlib
import pkgutil

import chaos
from chaos import errors


def everything_below(cls: type[errors.ChaosError]) -> set[type[errors.ChaosError]]:
    return {cls}.union(*(everything_below(child) for child in cls.__subclasses__()))


def test_every_error_stands_in_the_one_file_and_in_its_drawing() -> None:
    for module in pkgutil.walk_packages(chaos.__path__, "chaos."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for cls in everything_below(errors.ChaosError):
        assert cls.__module__ == "chaos.errors", cls
        if cls is not errors.Mistakes:  # what SpecError and InventoryError share
            assert cls.__name__ in (errors.__doc__ or ""), cls
