"""From YAML to values that can be trusted: an experiment, an inventory, and the JSON Schema of an experiment.

    file -> yaml (plain values, each with its place) -> sheet (models tried, mistakes gathered) -> frozen model

Called by the plan, the commands and the pytest plugin. Whatever is wrong in a file is said at once, one line a mistake,
each at file:line:column; for a wrong file nothing but SpecError or InventoryError leaves this room.
"""
