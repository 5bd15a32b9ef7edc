"""Names that become folders, units and files on a host: refused where the YAML is read, or harmless there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chaos.cli.app import app
from chaos.clock import SystemClock
from chaos.contracts import Target
from chaos.record.store import new_folder, slug
from chaos.run.fuse import HOME, Fuse, Undo, undo_unit_of, unit_of
from chaos.run.lock import HostLock
from chaos.targets.local import LocalTarget
from tests.unit.run.namespaced_host import namespaced_host

HOSTILE = [
    "a b", "it's", 'quo"te', "$(touch /run/trap)", "`touch /run/trap`", "a;touch /run/trap", "a\ntouch /run/trap",
    "-rf", "--help", "..", "../../etc", "a/b", "x" * 300, "ü\u202e中", "\x1b[2J", "*", "#", "%n", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def host() -> Iterator[Target]:
    with namespaced_host() as pid:
        target = LocalTarget("box", pid)
        yield target
        target.close()


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_an_experiment_s_name_is_a_folder_below_runs_and_the_lock_says_it_in_one_line(
    name: str, host: Target, tmp_path: Path
) -> None:
    folder = new_folder(tmp_path, name, SystemClock().utc())
    assert folder.parent.parent == tmp_path
    assert folder.is_dir()
    assert len(slug(name)) <= 80
    lock = HostLock(host, f"me {name}", name, 60)
    lock.take()
    held = HostLock(host, "other", "", 60).held()
    assert held is not None
    assert (held.owner, held.run) == (" ".join(f"me {name}".split()), " ".join(name.split()))
    assert host.run(f"ls {HOME}").stdout.split() == ["lock", "mutex"]
    lock.release()
    assert not {"trap", "gameday"} & set(host.run("ls /run").stdout.split())


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("what", ["host", "group", "kind"])
def test_other_names_are_refused_where_they_stand(what: str, name: str, tmp_path: Path) -> None:
    inventory: dict[str, Any] = {"hosts": {"box": {"connection": "local", "endpoint": "127.0.0.1:1"}}}
    fault = {"kind": "process_pause", "on": "box", "match": "x", "for": "1s"}
    if what == "host":
        inventory["hosts"][name] = {"connection": "local"}
    elif what == "group":
        inventory["groups"] = {name: ["box"]}
    else:
        fault["kind"] = name
    arrivals = {"process": "constant", "rate": "1/s"}
    experiment = {
        "name": "x", "load": {"url": "http://{box}/", "arrivals": arrivals}, "faults": [fault],
        "timeline": {"warmup": "0s", "baseline": "1s", "observe": "2s"},
    }  # fmt: skip
    for file, content in (("inv.yaml", inventory), ("x.yaml", experiment)):
        (tmp_path / file).write_text(json.dumps(content, indent=1))
    done = CliRunner().invoke(app, ["plan", str(tmp_path / "x.yaml"), "-i", str(tmp_path / "inv.yaml")])
    said = done.output + str(done.exception)
    assert getattr(done.exception, "exit_code", 0) == 2, said
    file = "x.yaml" if what == "kind" else "inv.yaml"
    assert f"{file}:" in said


def ids_of(fault: str, host: str) -> str:
    return f"20261123T180000Z-ab12.{fault}@{host}"


@pytest.mark.parametrize("host_name", ["worker-1", "x" * 128, "a.b_c-d"])
def test_the_longest_names_that_are_allowed_arm_and_let_go(host_name: str, host: Target) -> None:
    name = ids_of("process_pause-0", host_name)
    fuse = Fuse(host, name, Undo("true\n", "true\n"), 60, 60)
    fuse.arm()
    assert host.run(f"ls {HOME}/fuses").stdout.split() == [name]
    assert fuse.fire(5).startswith("clean")
    fuse.disarm()
    assert "fuses" not in host.run(f"ls {HOME}; rmdir {HOME}").stdout
    assert len(unit_of(name) + ".service") <= 255


@pytest.mark.parametrize("name", [name for name in HOSTILE if name], ids=ascii)
def test_a_fuse_s_name_is_quoted_and_its_units_are_plain(name: str) -> None:
    for unit in (unit_of(name), undo_unit_of(name)):
        assert unit.startswith("gameday-")
        assert not set(unit) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
