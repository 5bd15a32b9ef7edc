"""`setting` on the reference appliance and on nginx, and `command` on files: applied, read, undone, once or twice."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.contracts import Fault
from chaos.errors import CommandFailed
from chaos.faults.command import Command
from chaos.faults.setting import Setting
from chaos.run.fuse import Undo
from chaos.run.injector import read
from chaos.run.sweep import MARKS, sweep
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


RELOADED = """
worker_processes 1; user root; pid {folder}/pid; error_log {folder}/error.log; events {{}}
http {{
    access_log off; client_body_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; location / {{ default_type text/plain; return 200 "batch 32"; }} }}
}}
"""


@contextmanager
def reloadable(folder: Path) -> Iterator[tuple[int, Path, str]]:
    """A server that answers with a value of its configuration; yields its port, that file, and what reloads it."""
    port, file = free_port(), folder / "nginx.conf"
    file.write_text(RELOADED.format(folder=folder, port=port))
    with subprocess.Popen([shutil.which("nginx") or "nginx", "-c", file, "-g", "daemon off;"]) as server:
        try:
            wait_until(lambda: serves(port))
            yield port, file, f"nginx -t -q -c {file} && nginx -s reload -c {file}"
        finally:
            server.terminate()


def says(port: int) -> bytes:
    return ask(port, "GET", "/")[2]


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
        assert lives(setting(url=url, key="max_batch", reads="max_batch.value", value=1)).value == "32"


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
        assert lives(setting(url=url, key="balancer.kind", value="least; $(id)", method="PUT")).value == '"it\'s round"'
        assert lives(setting(url=url, key="pools.1.size", value=False, method="PUT")).value == "2.5"
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


def test_a_value_in_a_file_that_nginx_reloads(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (port, file, reload):
        fault, text = setting(file=str(file), match=r'"batch (\w+)"', value=1, reload=reload), file.read_bytes()
        undo = lives_in_a_file(fault, port, b"batch 1")
        assert (says(port), file.read_bytes()) == (b"batch 32", text)
        assert not fault.persists, "it lies below /tmp"
        before = read(HOST, fault.reading())
        perform(fault.apply(before))
        file.write_bytes(file.read_bytes() + b"# a colleague's\n")
        HOST.run(undo.do)
        assert HOST.run(undo.clean, check=False).status == 0
        assert file.read_bytes() == text + b"# a colleague's\n", "what somebody else wrote elsewhere stays"


def lives_in_a_file(fault: Setting, port: int, under: bytes) -> Undo:
    """As `lives`, and the service shows it; an undo that has nothing to undo tells it nothing."""
    before = read(HOST, fault.reading())
    undo = Undo.of(HOST.render(action) for action in fault.revert(before))
    HOST.run(undo.do)
    assert read(HOST, fault.reading()) == before
    for _ in range(2):
        perform(fault.apply(before))
        wait_until(lambda: says(port) == under)
    now = read(HOST, fault.reading())
    assert fault.dose(before, now).confirmed
    assert "`gameday heal` does it" in (fault.objection(now) or "")
    assert HOST.run(undo.clean, check=False).status != 0
    for _ in range(2):
        HOST.run(undo.do)
        assert fault.is_reverted(before, read(HOST, fault.reading()))
    wait_until(lambda: says(port) != under)
    return undo


def test_a_service_that_can_not_be_told_yet_is_told_by_the_next_try(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (port, file, reload):
        gate = tmp_path / "gate"
        fault = setting(file=str(file), match=r'"batch (\w+)"', value=1, reload=f"[ ! -e {gate} ] && {reload}")
        before = read(HOST, fault.reading())
        undo = Undo.of(HOST.render(action) for action in fault.revert(before))
        perform(fault.apply(before))
        wait_until(lambda: says(port) == b"batch 1")
        gate.touch()
        HOST.run(undo.do, check=False)
        assert '"batch 32"' in file.read_text()
        assert HOST.run(undo.clean, check=False).status != 0, "the file is right, and the service does not know"
        assert not fault.is_reverted(before, read(HOST, fault.reading()))
        gate.unlink()
        HOST.run(undo.do)
        assert HOST.run(undo.clean, check=False).status == 0
        wait_until(lambda: says(port) == b"batch 32")


def test_a_value_that_the_service_refuses_is_not_applied_and_is_taken_back(tmp_path: Path) -> None:
    with reloadable(tmp_path) as (port, file, reload):
        fault, text = setting(file=str(file), match=r"(\w+) 200", value="returns", reload=reload), file.read_bytes()
        before = read(HOST, fault.reading())
        with pytest.raises(CommandFailed, match='unknown directive "returns"'):
            perform(fault.apply(before))
        perform(fault.revert(before))
        assert fault.is_reverted(before, read(HOST, fault.reading()))
        assert (says(port), file.read_bytes()) == (b"batch 32", text)


def test_heal_finds_what_was_changed_in_a_file_and_puts_it_back(tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    file.write_text('{"batch": {"max": 32}, "other": 1}')
    fault = setting(file=str(file), key="batch.max", value=1)
    perform(fault.apply(read(HOST, fault.reading())))
    assert json.loads(file.read_text())["batch"] == {"max": 1}
    (mark,) = (mark for mark in MARKS if mark.name == "undo that is due")
    mark = replace(mark, lists=f"{mark.lists} | grep -Fx {fault._folder}")  # another test may have its own there
    assert [found.gone for found in sweep(HOST, [mark], remove=True)] == [True]
    assert file.read_text() == '{"batch": {"max": 32}, "other": 1}'
    assert sweep(HOST, [mark], remove=False) == []


def test_who_changes_the_value_under_the_fault_keeps_it_and_the_undo_is_stuck(tmp_path: Path) -> None:
    file = tmp_path / "service.env"
    file.write_text("BATCH=32\n")
    fault = setting(file=str(file), match="^BATCH=(.*)$", value=1)
    before = read(HOST, fault.reading())
    perform(fault.apply(before))
    file.write_text("BATCH=16\n")
    with pytest.raises(CommandFailed, match="somebody has set '16', which is neither '1' nor '32': it is left alone"):
        perform(fault.revert(before))
    assert not fault.is_reverted(before, read(HOST, fault.reading()))
    assert fault.dose(before, read(HOST, fault.reading())).why_not == "^BATCH=(.*)$ was 16 at the end of the fault"
    file.write_text("BATCH=32\n")
    perform(fault.revert(before))
    assert fault.is_reverted(before, read(HOST, fault.reading()))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give one of `url`, `file` and `environment`"),
        ({"file": "/etc/x", "url": "http://h/", "key": "a"}, "give one of"),
        ({"url": "http://h/"}, "url: goes with `key`"),
        ({"url": "http://h/", "key": "a", "match": "(a)"}, "match: does not go with `url`"),
        ({"file": "/etc/x"}, "goes with `key` \\(it is JSON\\) or with `match`"),
        ({"file": "/etc/x", "key": "a", "match": "(a)"}, "goes with `key`"),
        ({"file": "/etc/x", "match": "a"}, "'a' has 0 groups"),
        ({"file": "/etc/x", "match": "(a"}, "is not a regular expression"),
        ({"file": "/etc/x", "key": "a", "reload": "x", "restart": "x"}, "reload: is no use"),
        ({"file": "etc/x", "key": "a"}, "is no absolute path"),
        ({"environment": "A"}, "environment: goes with `restart`"),
        ({"environment": "A B", "restart": "x"}, "should match pattern"),
    ],
)
def test_what_is_no_setting_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        setting(value=1, **given)


def test_what_is_changed_in_a_file_outlives_a_reboot_and_nothing_else_does() -> None:
    assert setting(value=1, file="/etc/x", key="a").persists
    assert not setting(value=1, file="/run/x", key="a").persists
    assert not setting(value=1, url="http://h/", key="a").persists
    assert not setting(value=1, environment="A", restart="x").persists
