"""`python -m chaos` is `gameday`."""

from chaos.cli import main

main()
