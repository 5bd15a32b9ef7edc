"""For every test: the YAML under cases/ is material, not experiments to run."""

collect_ignore = ["cases"]
