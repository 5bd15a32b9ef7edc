"""What a user of the lab calls; `chaos.lab` shows these names. All of it talks to, or starts, the lab's keeper."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaos.errors import Refusal, Unreachable
from chaos.lab.children import tail
from chaos.lab.control import Message, ask, lab_folder
from chaos.lab.layout import MAX_WORKERS, Kind, Layout, Workload, appliance, lay_out
from chaos.lab.tools import missing_packages

_POLL = 0.1


@dataclass(frozen=True)
class Lab:
    """A lab that is up. `endpoint` (HOST:PORT on loopback) is the gateway's service; `why` says why it is this kind."""

    kind: Kind
    why: str
    hosts: tuple[str, ...]
    inventory_path: Path
    endpoint: str
    folder: Path
    keeper: int
    """The process that everything of the lab ends with."""


def up(
    kind: Literal["auto", "vm", "netns"] = "auto",
    workers: int = 3,
    owner_pid: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    workload: Workload | None = None,
    serve_within: float = 90.0,
) -> Lab:
    """Return the lab, started first where none is up; it is there when every host is ready and the gateway serves.

    `owner_pid` is a process to end with. `workload` is the command of each host, the reference appliance by default;
    a gateway that runs one has to answer `GET /healthz` with 200 within `serve_within` s of the hosts being ready.
    Raises Refusal when the lab can't be (missing packages, another one is up), Unreachable when it does not come up.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise Refusal(f"a lab of {workers} workers was asked for; it can have 1 to {MAX_WORKERS}")
    folder = lab_folder()
    if (found := ask(folder, {"do": "status"})) is None:
        hosts = lay_out(workers, appliance(workers) if workload is None else workload)
        chosen, why = _choose(kind)
        layout = Layout(chosen, why, hosts, owner_pid, _image(chosen, say), serve_within)
        _compile()
        say(f"starting {len(layout.hosts)} hosts of kind {layout.kind}: {layout.why}")
        _start_keeper(folder, layout)
    else:
        _same(found, kind, workers)
    return _wait_until_up(folder)


def status() -> Lab | None:
    """Return the lab when one is up, else None."""
    folder = lab_folder()
    found = ask(folder, {"do": "status"})
    return _lab(folder, found) if found and found["state"] == "up" else None


def down() -> None:
    """End the lab, if there is one; return when nothing of it is left."""
    folder = lab_folder()
    found = ask(folder, {"do": "status"})
    if found is None:
        return
    keeper = os.pidfd_open(found["keeper"])
    ask(folder, {"do": "down"})
    _wait_for_end(keeper)


def power(host: str, state: Literal["on", "off", "status"]) -> str:
    """Switch a host on or off (off is a power cut), or only look; return "on" or "off"."""
    answer = ask(lab_folder(), {"do": "power", "host": host, "to": state})
    if answer is None:
        raise Refusal("no lab is up; start one with `gameday lab up`")
    return str(answer["power"])


def ssh_command(host: str) -> list[str]:
    """Return the command that opens a shell on a host: ssh with the host's key checked, or nsenter."""
    import yaml

    lab = status()
    if lab is None:
        raise Refusal("no lab is up; start one with `gameday lab up`")
    inventory = yaml.safe_load(lab.inventory_path.read_text())
    if host not in inventory["hosts"]:
        raise Refusal(f"the lab has no host {host!r}; its hosts are {', '.join(lab.hosts)}")
    settings = inventory["defaults"] | inventory["hosts"][host]
    if settings["connection"] == "netns":
        return ["nsenter", "--target", str(settings["pid"]), "--all"]
    options = ("IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f'UserKnownHostsFile="{settings["known_hosts"]}"')
    flags = [word for option in options for word in ("-o", option)]
    where = ["-p", str(settings["port"]), f"{settings['user']}@{settings['address']}"]
    return ["ssh", "-F", "none", "-i", settings["identity_file"], *flags, *where]


def _choose(kind: Literal["auto", "vm", "netns"]) -> tuple[Kind, str]:
    """Return the kind of host and why. Raises Refusal when this machine lacks the packages for it."""
    if kind == "auto":
        from chaos.lab.netns import objection

        no = objection()
        chosen: Kind = "vm" if no else "netns"
        why = no or "this kernel has namespaces and sch_netem, and we are root"
    else:
        chosen, why = kind, "asked for"
    if chosen == "netns" and os.geteuid() != 0:
        raise Refusal("a lab of kind netns needs root; use kind vm, which does not")
    if missing := missing_packages(chosen):
        raise Refusal(f"a lab of kind {chosen} ({why}) needs packages: apt-get install {' '.join(missing)}")
    return chosen, why


def _image(kind: Kind, say: Callable[[str], None]) -> str:
    """Return the folder of the image that virtual hosts boot from, made first where it has to be."""
    if kind != "vm":
        return ""
    from chaos.lab.image import ensure_image

    return str(ensure_image(say).folder)


def _same(found: Message, kind: str, workers: int) -> None:
    """Refuse when the lab that is up is not the one that was asked for."""
    up_workers = len(found["hosts"]) - 1
    if kind not in ("auto", found["kind"]) or workers != up_workers:
        raise Refusal(
            f"a lab of kind {kind} with {workers} workers was asked for; one of kind {found['kind']} with {up_workers} "
            "is up; end it with `gameday lab down`"
        )


def _compile() -> None:
    """Compile what the hosts run, once, here: under emulation each host would spend seconds on it."""
    compileall.compile_file(str(_PACKAGE / "__init__.py"), quiet=2)
    compileall.compile_file(str(_PACKAGE / "errors.py"), quiet=2)
    compileall.compile_dir(str(_PACKAGE / "lab"), quiet=2)


_PACKAGE = Path(__file__).parents[1]


def _start_keeper(folder: Path, layout: Layout) -> None:
    code = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "chaos.lab.keeper", str(folder)]
    done = subprocess.run(command, input=layout.to_json(), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Unreachable(f"the lab's keeper did not start: {done.stderr.strip()[-1000:]}")


def _wait_until_up(folder: Path) -> Lab:
    """Wait until the keeper says that the lab is up; the deadlines are the keeper's. A lab that failed is ended."""
    missed = 0
    while missed < 20:
        found = ask(folder, {"do": "status"})
        missed = 0 if found else missed + 1
        if found and found["state"] == "up":
            return _lab(folder, found)
        if found and found["state"] == "failed":
            down()
            raise Unreachable(f"the lab did not come up: {found['problem']}")
        time.sleep(_POLL)
    raise Unreachable(f"the lab's keeper ended while it started: {tail(folder / 'keeper.log')}")


def _wait_for_end(keeper: int) -> None:
    """Wait until a process (a pidfd) has ended."""
    import select

    try:
        if not select.select([keeper], [], [], 30)[0]:
            raise Unreachable("the lab's keeper has ended its hosts and does not end itself")
    finally:
        os.close(keeper)


def _lab(folder: Path, found: Message) -> Lab:
    return Lab(
        found["kind"], found["why"], tuple(found["hosts"]), folder / "inventory.yaml", found["endpoint"], folder,
        found["keeper"],
    )  # fmt: skip
