"""`python -m tests.torture.impatient SECONDS ...`: `gameday ...` that waits for a fuse no longer than so many s.

Whether a fault is STUCK does not depend on how long that was waited for, and a trial has better things to do.
"""

from __future__ import annotations

import sys

from chaos.cli import main
from chaos.run import heal

heal._PATIENCE = float(sys.argv.pop(1))
main()
