"""`python -m chaos.lab power HOST on|off|status`: a host's power, as a command for an inventory. Prints on or off."""

from __future__ import annotations

import argparse
import sys

from chaos.errors import ChaosError
from chaos.lab import power


def main() -> int:
    """Do what the command line asks and return the exit status."""
    parser = argparse.ArgumentParser(prog="chaos.lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    switch = commands.add_parser("power", help="switch a host of the lab, or look whether it is on")
    switch.add_argument("host")
    switch.add_argument("state", choices=("on", "off", "status"))
    asked = parser.parse_args()
    try:
        sys.stdout.write(power(asked.host, asked.state) + "\n")
    except ChaosError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
