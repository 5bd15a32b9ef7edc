"""A kind of fault in a package of its own (tests/outsider), installed by pip and used as any other, on a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hosts import SshHosts, ssh_hosts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

PACKAGE = Path(__file__).parents[1] / "outsider"
EXPERIMENT = """
name: an outsider's fault
load: {url: "http://127.0.0.1:%s/", arrivals: {process: constant, rate: 20/s}}
timeline: {warmup: 0s, baseline: 1s, observe: 3s}
faults: [{kind: blackhole, on: worker-001, for: 1s, to: %s}]
"""
ELSEWHERE = "192.0.2.0/24"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip put the package in: its sources are copied, since a build leaves traces beside them."""
    folder = tmp_path_factory.mktemp("outsider")
    subprocess.run(["cp", "-r", PACKAGE, folder / "source"], check=True)
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--no-build-isolation", "--root-user-action=ignore", "--target"]
    subprocess.run([*argv, folder / "site", folder / "source"], check=True)
    return folder / "site"


def gameday(installed: Path, *words: object, enter: list[str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{PACKAGE.parents[1]}{os.pathsep}{installed}"}
    argv = [*(enter or []), sys.executable, "-m", "chaos", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


@contextmanager
def answering(hosts: SshHosts) -> Iterator[str]:
    """Serve on the controller's loopback; yields the port."""
    argv = [*hosts.enter_command, sys.executable, "-m", "probes.null_server"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def test_the_catalogue_has_it_beside_our_own(installed: Path) -> None:
    [entry] = json.loads(gameday(installed, "catalog", "blackhole", "--json").stdout)
    assert (entry["kind"], list(entry["parameters"]), entry["example"][:17]) == (
        "blackhole",
        ["to"],
        "{kind: blackhole,",
    )
    assert gameday(installed, "catalog", "netem").returncode == 0


def test_a_mistake_in_it_has_a_place_in_the_file(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(EXPERIMENT % (8000, "nowhere"), encoding="utf-8")
    done = gameday(installed, "check", tmp_path / "x.yaml")
    assert done.returncode == 2
    assert "x.yaml:5:53: faults[0].to: " in done.stderr


def test_it_is_applied_read_back_and_let_go(installed: Path, tmp_path: Path) -> None:
    with ssh_hosts(1) as hosts, answering(hosts) as port:
        before = hosts.inside("worker-001", "ip route")
        (tmp_path / "x.yaml").write_text(EXPERIMENT % (port, ELSEWHERE), encoding="utf-8")
        done = gameday(
            installed, "run", tmp_path / "x.yaml", "-i", hosts.inventory_path, "--out", tmp_path, "--json",
            enter=hosts.enter_command,
        )  # fmt: skip
        assert hosts.inside("worker-001", "ip route") == before
        [fault] = json.loads(done.stdout)["faults"]
        assert (fault["kind"], fault["confirmed"], fault["reverted"]) == ("blackhole", True, True), done.stderr
        (tmp_path / "cut.yaml").write_text(EXPERIMENT % (port, "10.78.0.1/32"), encoding="utf-8")
        done = gameday(
            installed, "run", tmp_path / "cut.yaml", "-i", hosts.inventory_path, "--out", tmp_path,
            enter=hosts.enter_command,
        )  # fmt: skip
        assert done.returncode == 3
        assert "is where this run's own SSH comes from" in done.stderr
