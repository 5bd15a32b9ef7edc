"""Somebody takes away the tool that an undo needs: controller, fuse and `heal` all say STUCK until it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chaos import catalog
from chaos.cli.app import app
from chaos.contracts import Target
from chaos.errors import Exit, Stuck
from chaos.record.events import EventLog, read_jsonl
from chaos.run import heal
from chaos.run.fingerprint import drift, fingerprint
from chaos.run.fuse import HOME, Fuse
from chaos.run.heartbeat import Heartbeat
from chaos.run.injector import Injection, Site
from chaos.run.ledger import Ledger
from chaos.testing import FakeClock
from tests.hosts import SshHosts, objection, ssh_hosts

pytestmark = pytest.mark.skipif(objection() is not None, reason=str(objection()))

KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("partition", {"action": "drop"}, "nft"),
    ("bandwidth", {"interface": "eth0", "rate": "50mbit"}, "tc"),
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[SshHosts]:
    with ssh_hosts(1) as up, up.as_controller():
        yield up


@pytest.fixture
def host(hosts: SshHosts) -> Iterator[Target]:
    (name,) = hosts.names
    hosts.inside(name, "while ip -6 address show tentative | grep -q .; do sleep 0.1; done")
    target = hosts.target(name)
    yield target
    target.close()


@pytest.mark.parametrize(("kind", "parameters", "tool"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_an_undo_without_its_tool(
    hosts: SshHosts,
    host: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    parameters: dict[str, Any],
    tool: str,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(heal, "_PATIENCE", 2.0)
    before, folder = fingerprint(host), tmp_path / "runs" / "stuck" / "1"
    folder.mkdir(parents=True)
    beat = Heartbeat(host, 3, lambda _: None, lambda _: None)
    beat.start()
    injection = _applied(kind, parameters, Site(host, host, HOME, beat), folder)
    fuse = injection.fuse
    assert fuse is not None

    hosts.inside(host.name, f'mount --bind /dev/null "$(command -v {tool})"')
    try:
        with pytest.raises(Stuck, match=f"{host.name}: {kind} may still be on: (.|\n)*run on {host.name} as root: cd "):
            injection.revert()
        assert [event["event"] for event in read_jsonl(folder / "events.jsonl")][-1] == "fault.stuck"
        assert Ledger(folder).still_open() != []
        _wait_for(lambda: fuse.state().startswith("reverting"), within=10)  # it had its lease until now
        status, said = _heal(hosts, tmp_path)
        assert (status, f"STUCK  {host.name}: " in said) == (Exit.STUCK, True), said
        assert "sh ./undo && sh ./clean" in said, "it says what to do by hand"
        _wait_for(lambda: _hurried(fuse).startswith("STUCK: the lease was not renewed; "), within=30)
        assert not fuse.reads_clean()
    finally:
        beat.stop()
        hosts.inside(host.name, f"umount $(awk '$2 ~ /\\/{tool}$/ {{ print $2 }}' /proc/mounts)")

    _wait_for(lambda: _hurried(fuse).startswith("clean"), within=20)
    assert _heal(hosts, tmp_path)[0] == 0
    assert Ledger(folder).still_open() == []
    assert drift(before, fingerprint(host)) == []
    injection.events.close()


def _hurried(fuse: Fuse) -> str:
    """Wake the fuse from its back-off, and return its state."""
    fuse.target.run(f"kill -USR1 $(cat {fuse.folder}/pid)", check=False)
    return fuse.state()


def _applied(kind: str, parameters: dict[str, Any], site: Site, folder: Path) -> Injection:
    """Bring it about; the controller's clock is fake, so its patience is over at once."""
    fault = catalog.faults().get(kind).model_validate(parameters)
    events = EventLog(folder / "events.jsonl", FakeClock())
    injection = Injection("f-0", fault, site, events, Ledger(folder), FakeClock(), lease=3, hold=60)
    injection.prepare()
    injection.arm()
    injection.apply()
    return injection


def _heal(hosts: SshHosts, tmp_path: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["heal", "-i", str(hosts.inventory_path), "--out", str(tmp_path / "runs")])
    return done.exit_code, done.output


def _wait_for(true: Callable[[], bool], within: float) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.1)
