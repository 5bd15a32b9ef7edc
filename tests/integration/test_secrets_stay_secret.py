"""A password goes to sudo, and nowhere else: it is searched for in all that is written, said, listed and kept.

Where a secret can be given: `password_env` of a host, and the environment that power commands get. URLs refuse
credentials. Headers and commands of an experiment are no secrets: they are kept with the recording.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from chaos.cli.app import app
from tests.hosts import SshHosts, files, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))
SECRET, WRONG, POWER = files.PASSWORD.encode(), b"zq-wrong-battery-zq", b"zq-of-the-power-controller-zq"
SECRETS = (SECRET, WRONG, POWER)
EXPERIMENT = """\
name: secrets
load: {{url: "http://127.0.0.1:9/", arrivals: {{process: constant, rate: 20/s}}, timeout: 200ms}}
timeline: {{warmup: 0s, baseline: 1s, observe: 1500ms}}
faults: [{{kind: process_pause, on: worker-001, match: {match}, for: 1s}}]
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as up:
        up.inside(up.names[0], "sleep 613 >/dev/null 2>&1 &")
        yield up


class Watch:
    """What every process of a host had as its command line and its environment, looked at all the time."""

    def __init__(self, host: int) -> None:
        self.seen: set[bytes] = set()
        self._processes = Path(f"/proc/{host}/root/proc")

    def look(self) -> None:
        for process in self._processes.glob("[0-9]*"):
            try:
                self.seen |= {(process / name).read_bytes() for name in ("cmdline", "environ")}
            except OSError:
                continue  # it ended while we looked


@contextmanager
def watching(host: int) -> Iterator[Watch]:
    watch, over = Watch(host), threading.Event()

    def look() -> None:
        while not over.wait(0.002):
            watch.look()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield watch
    finally:
        over.set()
        looking.join()


def inventory_in(folder: Path, hosts: SshHosts) -> None:
    known = yaml.safe_load(hosts.inventory_path.read_text())
    known["defaults"] |= {"user": files.PASSWORD_USER, "become": "sudo", "password_env": "GAMEDAY_TEST_PASSWORD"}
    power = ["sh", "-c", 'test -n "$GAMEDAY_TEST_POWER"; echo broken >&2; exit 1']
    known["hosts"]["worker-001"]["power"] = {"kind": "command", "on": power, "off": power, "status": power}
    (folder / "inventory.yaml").write_text(yaml.safe_dump(known))


def said_by(hosts: SshHosts, folder: Path, password: bytes, *command: str) -> tuple[int, bytes]:
    environment = {"GAMEDAY_TEST_PASSWORD": password.decode(), "GAMEDAY_TEST_POWER": POWER.decode()}
    if command[0] in ("plan", "judge", "report"):  # these reach no host
        with contextlib.chdir(folder):
            here = CliRunner().invoke(app, command, env=environment)
        return here.exit_code, f"{here.output}{here.exception!r}".encode()
    argv = [*hosts.enter_command, sys.executable, "-m", "chaos", *command]
    done = subprocess.run(argv, cwd=folder, env=os.environ | environment, capture_output=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def kept_in(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.timeout(300)  # eight commands
def test_a_planted_secret_is_found_nowhere(hosts: SshHosts, tmp_path: Path, state_home: Path) -> None:
    inventory_in(tmp_path, hosts)
    (tmp_path / "good.yaml").write_text(EXPERIMENT.format(match="sleep"))
    (tmp_path / "bad.yaml").write_text(EXPERIMENT.format(match="nobody-is-called-so"))
    kill = "{kind: node_kill, on: worker-001, for: 1s}"
    (tmp_path / "power.yaml").write_text(EXPERIMENT.format(match="sleep").split("faults:")[0] + f"faults: [{kill}]\n")
    on, out = ("-i", "inventory.yaml"), ("--out", "runs")
    run, latest = ("run", "-v"), "runs/secrets/latest"
    said = {}
    with watching(hosts.pid_of("worker-001")) as watch:
        for name, password, *command in (
            ("plan", SECRET, "plan", "good.yaml", *on),
            ("preflight", SECRET, "preflight", "good.yaml", *on),
            ("run", SECRET, *run, "good.yaml", *on, *out),
            ("judge", SECRET, "judge", latest, "--json"),
            ("report", SECRET, "report", latest, "-o", "page.html", "--json"),
            ("objection", SECRET, *run, "bad.yaml", *on, *out),
            ("power", SECRET, *run, "power.yaml", *on, *out),
            ("wrong password", WRONG, "heal", *on, *out),
        ):
            said[name] = said_by(hosts, tmp_path, bytes(password), *map(str, command))
    codes = {name: code for name, (code, _) in said.items()}
    refused = {"objection": 3, "power": 3, "wrong password": 5}
    assert {name: code for name, code in codes.items() if name in refused} == refused, said
    assert (codes["plan"], codes["preflight"], codes["report"]) == (0, 0, 0), said
    assert b"fault.applied" in kept_in(tmp_path / "runs"), said["run"]
    assert b"fuse.sh" in said["run"][1], "or -v shows nothing"
    assert b"broken" in said["power"][1], said["power"]
    assert any(b"sudo\0-S" in line for line in watch.seen), "or nobody looked in time"
    files_there = "find /run -xdev -type f -exec cat {} + | LC_ALL=C tr -d '\\200-\\377'"
    kept = f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline; {files_there}"
    left = hosts.inside("worker-001", kept)
    places = {
        "what was said": b"".join(text for _, text in said.values()),
        "the recording": kept_in(tmp_path),
        "our state": kept_in(state_home),
        "processes on the host": b"\n".join(watch.seen),
        "what is left on the host": left.encode(),
    }
    assert [(place, secret) for place, held in places.items() for secret in SECRETS if secret in held] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://u:{}@h/",
        "http://u:{}é@h/",
        "ftp://u:{}@h/",
        "http://u:{}@/",
        "http://u:{}@h:0/",
        "http://u:{}@h:x/",
        "http://u:{}/@h/",
    ],
)
@pytest.mark.parametrize("where", ["load", "http", "promql", "abort"])
def test_credentials_in_a_url_are_refused_and_not_repeated(where: str, url: str, tmp_path: Path) -> None:
    given = url.format(SECRET.decode().replace(" ", "-"))
    probes = {"http": f"{{kind: http, url: '{given}'}}"}
    probes["promql"] = f"{{kind: promql, url: '{given}', query: up, ok: '> 0'}}"
    target = given if where == "load" else "http://127.0.0.1:9/"
    (tmp_path / "x.yaml").write_text(
        f"name: x\nload: {{url: '{target}', arrivals: {{process: constant, rate: 1/s}}}}\n"
        "timeline: {warmup: 0s, baseline: 1s, observe: 1s}\n"
        + (f"probes: [{probes[where]}]\n" if where in probes else "")
        + (f"abort: [{{prometheus: '{given}', query: up, when: '> 0', for: 1s}}]\n" if where == "abort" else "")
    )
    done = CliRunner().invoke(app, ["check", str(tmp_path / "x.yaml")])
    said = done.output + str(done.exception)
    assert done.exit_code == 2
    assert "correct-horse" not in said
