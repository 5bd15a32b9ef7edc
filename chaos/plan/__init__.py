"""From (experiment, inventory) to a plan: which fault on which host at which moment, under which load, judged by what.

Pure: nothing is looked up and no host is reached, so `gameday plan` shows exactly what `gameday run` would do.
"""
