"""A Redfish client for one thing: is a system on, and switch it (DMTF DSP0266; schema ComputerSystem).

It is a program, so that a fuse can run it when the run is dead: `python -m chaos.targets.redfish URL --user U
--password-env VARIABLE on|off|status`. `status` prints `on` or `off`, also while the system is on its way there; `on`
and `off` are ResetType On and ForceOff, sent only where the system is not so already.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from typing import Any
from urllib.parse import urljoin

import httpx

_TIMEOUT = 20.0  # s
_STATES = {"On": "on", "PoweringOn": "on", "Off": "off", "PoweringOff": "off"}
_RESETS = {"on": "On", "off": "ForceOff"}


class RedfishError(Exception):
    """The controller's answer is not what Redfish says it should be, or is a refusal."""


class Redfish:
    """One system behind a Redfish service. Methods raise RedfishError and httpx.HTTPError."""

    def __init__(self, client: httpx.Client, system: str | None) -> None:
        self._client = client
        self._wanted = system

    def state(self) -> str:
        """Return `on` or `off`."""
        return self._state(self._system())

    def switch(self, to: str) -> None:
        """Ask for `on` or `off`, unless it is so already."""
        system = self._system()
        if self._state(system) == to and not str(system.get("PowerState")).startswith("Powering"):
            return
        reset = system.get("Actions", {}).get("#ComputerSystem.Reset", {})
        if "target" not in reset:
            raise RedfishError(f"system {system.get('Id')} has no action #ComputerSystem.Reset")
        self._ask("POST", reset["target"], {"ResetType": _RESETS[to]})

    def _state(self, system: dict[str, Any]) -> str:
        state = system.get("PowerState")
        if state not in _STATES:
            raise RedfishError(f"system {system.get('Id')} says PowerState {state!r}; known are {', '.join(_STATES)}")
        return _STATES[state]

    def _system(self) -> dict[str, Any]:
        root = self._ask("GET", "/redfish/v1/")
        collection = self._ask("GET", root.get("Systems", {}).get("@odata.id", "/redfish/v1/Systems"))
        links = [member["@odata.id"] for member in collection.get("Members", [])]
        systems = [self._ask("GET", link) for link in links]
        found = [system for system in systems if self._wanted in (None, system.get("Id"), system.get("Name"))]
        if len(found) != 1:
            ids = ", ".join(str(system.get("Id")) for system in systems) or "none"
            wanted = f"one called {self._wanted!r}" if self._wanted else "exactly one, or `system:` in the inventory"
            raise RedfishError(f"wanted {wanted}; the controller has the systems {ids}")
        return found[0]

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        answer = self._client.request(method, urljoin(str(self._client.base_url), path), json=body)
        if answer.status_code == 401:
            raise RedfishError("the controller refuses this user and password (401)")
        if not answer.is_success:
            raise RedfishError(f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}")
        parsed = answer.json() if answer.content and method == "GET" else {}
        return parsed if isinstance(parsed, dict) else {}


def main() -> int:
    """Do what the arguments say; 1 with a line on standard error where it can't be done."""
    parser = argparse.ArgumentParser(prog="chaos.targets.redfish", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-env", required=True)
    parser.add_argument("--system")
    parser.add_argument("--ca")
    parser.add_argument("what", choices=["on", "off", "status"])
    asked = parser.parse_args()
    try:
        auth = (asked.user, os.environ[asked.password_env])
        verify = ssl.create_default_context(cafile=asked.ca)
        with httpx.Client(base_url=asked.url, auth=auth, verify=verify, timeout=_TIMEOUT, trust_env=False) as client:
            system = Redfish(client, asked.system)
            if asked.what == "status":
                sys.stdout.write(f"{system.state()}\n")
            else:
                system.switch(asked.what)
    except KeyError:
        return _fail(f"the environment variable {asked.password_env} is not set")
    except (RedfishError, httpx.HTTPError, OSError, ValueError) as error:
        return _fail(f"{asked.url}: {type(error).__name__}: {error}")
    return 0


def _fail(why: str) -> int:
    sys.stderr.write(f"redfish: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
