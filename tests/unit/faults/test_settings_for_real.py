"""`setting` on the reference appliance and on nginx, and `command` on files: applied, read, undone, once or twice."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.contracts import Fault
from chaos.errors import CommandFailed
from chaos.faults.command import Command
from chaos.faults.setting import Setting
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.targets.local import LocalTarget
from tests.unit.appliance.appliance_processes import ask, free_port, healthz, running, wait_until

HOST = LocalTarget("here")
NGINX = """
daemon off; master_process off; user root; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {folder}; location / {{ dav_methods PUT; }} }}
}}
"""


@contextmanager
def worker() -> Iterator[int]:
    port = free_port()
    with running("worker", "--name", "w", "--listen", f"127.0.0.1:{port}"):
        wait_until(lambda: healthz(port)[0] == 200)
        yield port


@contextmanager
def nginx(folder: Path, document: Any) -> Iterator[str]:
    """A server to which a document can be PUT; yields its URL."""
    port = free_port()
    (folder / "config.json").write_text(json.dumps(document))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    with subprocess.Popen([shutil.which("nginx") or "nginx", "-c", folder / "nginx.conf"]) as server:
        wait_until(lambda: serves(port))
        yield f"http://127.0.0.1:{port}/config.json"
        server.terminate()


def serves(port: int) -> bool:
    try:
        return ask(port, "GET", "/config.json")[0] == 200
    except OSError:
        return False


def setting(**given: Any) -> Setting:
    return Setting.model_validate(given)


def lives(fault: Fault[Any]) -> Any:
    """Apply it twice and revert it twice, as controller and fuse would; return what was there before."""
    before = read(HOST, fault.reading())
    assert fault.objection(before) is None
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    for _ in range(2):
        perform(fault.apply(before))
        assert fault.is_applied(before, read(HOST, fault.reading()))
    assert fault.dose(before, read(HOST, fault.reading())).confirmed
    assert HOST.run(undo.clean, check=False).status != 0
    for _ in range(2):
        HOST.run(undo.do)
        assert HOST.run(undo.clean, check=False).status == 0
    assert fault.is_reverted(before, read(HOST, fault.reading()))
    return before


def perform(actions: list[Any]) -> None:
    for action in actions:
        HOST.perform(action)


def test_a_batch_size_of_the_appliance() -> None:
    with worker() as port:
        url = f"http://127.0.0.1:{port}/admin/settings"
        assert lives(setting(url=url, key="max_batch", reads="max_batch.value", value=1)) == "32"


def test_what_the_service_refuses_is_said_in_its_own_words_and_nothing_is_changed() -> None:
    with worker() as port:
        fault = setting(
            url=f"http://127.0.0.1:{port}/admin/settings", key="max_batch", reads="max_batch.value", value=0
        )
        before = read(HOST, fault.reading())
        with pytest.raises(CommandFailed, match=r"PATCH was answered 4\d\d: .*max_batch"):
            perform(fault.apply(before))
        assert read(HOST, fault.reading()) == before
    with pytest.raises(CommandFailed, match="Connection refused"):
        read(HOST, fault.reading())


def test_a_name_that_is_not_there_is_no_reading() -> None:
    with worker() as port:
        fault = setting(url=f"http://127.0.0.1:{port}/admin/settings", key="max_bach", value=1)
        with pytest.raises(CommandFailed, match="KeyError: 'max_bach'"):
            read(HOST, fault.reading())


def test_a_whole_document_by_put(tmp_path: Path) -> None:
    document = {"balancer": {"kind": "it's round"}, "pools": [{"size": 1}, {"size": 2.5}], "other": True}
    with nginx(tmp_path, document) as url:
        assert lives(setting(url=url, key="balancer.kind", value="least; $(id)", method="PUT")) == '"it\'s round"'
        assert lives(setting(url=url, key="pools.1.size", value=False, method="PUT")) == "2.5"
    assert json.loads((tmp_path / "config.json").read_text()) == document


def test_a_command_and_its_state(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("it's\n$(here)\n")
    fault = Command.model_validate(
        {"read": f"cat '{file}'", "apply": f"echo on >'{file}'", "revert": f"printf '%s\\n' \"$before\" >'{file}'"}
    )
    assert lives(fault) == "it's\n$(here)"
    assert file.read_text() == "it's\n$(here)\n"


@pytest.mark.parametrize("broken", ["exit 7", "(", "echo )", "if", "'", "false"])
def test_a_broken_undo_is_no_clean_host_and_ends_nothing_but_itself(broken: str, tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("off\n")
    fault = Command.model_validate({"read": f"cat '{file}'", "apply": f"echo on >'{file}'", "revert": broken})
    before = read(HOST, fault.reading())
    perform(fault.apply(before))
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    said = HOST.run(f"{undo.do}\necho went on\n{undo.clean}", check=False)
    assert (said.status != 0, "went on" in said.stdout) == (True, True)
