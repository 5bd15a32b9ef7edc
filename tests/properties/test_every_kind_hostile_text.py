"""Whatever text an experiment gives to a fault, of any kind in the catalogue: it is refused, or it stays one word.

The fields are found by each kind's own schema, so a kind that is new, or an outsider's, is tried as well. What is
rendered is run by a real sh, in an empty folder, where tc, ip, nft and their like only note their arguments and their
standard input, and where nothing else can be found but a program that must never be started.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chaos import catalog
from chaos.contracts import Fault, HostView, LinkState, Output
from chaos.errors import Misfit
from chaos.targets import _tc
from chaos.testing import FakeTarget

CASES = Path(__file__).parents[1] / "cases" / "faults"
SH = shutil.which("sh") or "/bin/sh"
COMMANDS = {
    ("process_kill", "restart"),
    *(("command", name) for name in ("read", "apply", "revert")),
}  # these are sh, and say so
JSON = {("setting", "value")}  # what is sent as JSON
FORMS = {("setting", "url"): "http://host/{}"}  # around what would be refused by its form alone
HOST = FakeTarget()
PLAIN = "plain0"
HOSTILE = [
    "$(owned)", "`owned`", "a;owned", "'; owned; '", '"; owned; "', "a\nowned\n", "a|owned", "a&owned&", ">file",
    "a>file", "$(>file)", "-batch", "--", "#", "a#b", "a b", "a\tb", "\\", "a\\", "'", '"', "a\\\nowned", "\u202eabc",
    "END\nowned\n", "*", "~", "${IFS}owned", "a" * 70_000, "\x1b[2J", "{ owned; }", '"\nlink del dev eth0\n"', "\u00e9",
]  # fmt: skip


def cases() -> Iterator[Any]:
    for kind, cls in catalog.faults():
        for name, field in cls.model_json_schema().get("properties", {}).items():
            schema = json.dumps(field)
            listed_enum = any("enum" in part for part in (field.get("items", field), *field.get("anyOf", ())))
            if (kind, name) in COMMANDS or listed_enum or '"format": "ip' in schema:  # an address is no text
                continue
            if '"type": "string"' in schema:
                yield pytest.param(cls, name, field.get("type", ""), id=f"{kind}.{name}")


def test_the_fields_are_found() -> None:
    found = {case.id for case in cases()}
    assert {"netem.interface", "bandwidth.interface", "partition.interface", "process_pause.match"} <= found
    assert {
        "partition.peers",
        "sysctl.values",
        "service.unit",
        "disk_fill.path",
        "disk_io.path",
        "disk_throttle.cgroup",
    } <= found


@pytest.mark.parametrize(("cls", "name", "shape"), list(cases()))
def test_text_is_refused_or_stays_one_word(cls: type[Fault[Any]], name: str, shape: str, tmp_path: Path) -> None:
    plain, accepted = runs(made(cls, name, PLAIN, shape), tmp_path), 0
    for hostile in HOSTILE:
        try:
            fault = made(cls, name, hostile, shape)
        except (ValidationError, Misfit):
            continue
        accepted += 1
        shown = json.dumps(hostile)[1:-1] if (cls.kind, name) in JSON else hostile
        expected = [[word.replace(PLAIN, shown) for word in words] for words in plain]
        assert runs(fault, tmp_path) == expected, repr(hostile)
    assert accepted or name in ("interface", "peers", "names")


@pytest.mark.parametrize(
    "kind",
    [
        *("netem", "bandwidth", "shallow_buffer", "pause_storm", "partition", "loss", "link_down", "mtu"),
        *("mtu_black_hole", "ecn", "pause"),
    ],
)
@pytest.mark.parametrize("hostile", [*HOSTILE, "\x00owned"])
def test_no_hostile_interface_is_accepted(kind: str, hostile: str) -> None:
    """`ip -batch`, `tc -batch` and nft read quotes, backslashes and # themselves, so sh's quoting is not enough."""
    cls = catalog.faults().get(kind)
    with pytest.raises(ValidationError, match="is no name of an interface; allowed are up to 15"):
        cls.model_validate(given(cls) | {"interface": hostile})


def given(cls: type[Fault[Any]]) -> dict[str, Any]:
    """What makes a fault of this kind, from the first of its cases."""
    found: dict[str, Any] = json.loads(min((CASES / cls.kind).glob("*.json")).read_text())["fault"]
    return found


def made(cls: type[Fault[Any]], name: str, text: str, shape: str) -> Fault[Any]:
    parameters = given(cls)
    text = f"/{text}" if str(parameters.get(name)).startswith("/") else text  # a path stays one
    text = FORMS.get((cls.kind, name), "{}").replace("{}", text)
    shaped: Any = [text] if shape == "array" else text
    shaped = dict.fromkeys(parameters[name], text) if shape == "object" else shaped
    fault = cls.model_validate(parameters | {name: shaped})
    peers = {text: {"worker-9": ("192.0.2.9",)}}
    return fault.bind(HostView("worker-1", "eth0", has_power=True, peers=peers))


def runs(fault: Fault[Any], folder: Path) -> list[list[str]]:
    """What each script of a fault runs; of one that objects to act, or whose undo is not the host's, its questions."""
    before = fault.typical()
    scripts = [question.script for question in fault.reading().questions if isinstance(question, Output)]
    scripts += [_tc.link_script(q.interface) for q in fault.reading().questions if isinstance(q, LinkState)]
    if fault.undo_from == "host" and fault.objection(before) is None:
        rendered = [HOST.render(action) for action in (*fault.apply(before), *fault.revert(before))]
        scripts += [part for action in rendered for part in (action.do, action.until or "true")]
    return [noted(script, folder) for script in scripts]


def noted(script: str, folder: Path) -> list[str]:
    """The arguments and the standard input of every one of these that a script starts."""
    notes, empty = folder / "notes", folder / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    empty.mkdir()
    notes.write_bytes(b"")
    tools = tools_in(folder, notes)
    argv = [SH, "-c", script]
    environment = {"PATH": str(tools), "HOME": str(empty)}
    if max(map(len, map(str.encode, argv))) < 128 * 1024:  # MAX_ARG_STRLEN, execve(2)
        subprocess.run(argv, cwd=empty, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    assert list(empty.iterdir()) == [], script
    words = notes.read_bytes().decode().split("\x1e")
    assert "OWNED" not in words, script
    return [re.sub(r"-[0-9a-f]{8}$", "", word) for word in words]  # what is named after its parameters


def tools_in(folder: Path, notes: Path) -> Path:
    tools = folder / "tools"
    if not tools.exists():
        tools.mkdir()
        note = f'for word in "${{0##*/}}" "$@"; do printf "%s\\036" "$word" >>"{notes}"; done\n'
        reads = '*" -batch "*|*" -f "*|*" /proc/"*'
        stdin = f'case " $* " in {reads}) /bin/cat >>"{notes}"; printf "\\036" >>"{notes}" ;; esac\n'
        for name in ("tc", "ip", "nft", "tee", "systemctl", "mkdir", "rm", "python3"):
            write(tools / name, f"#!{SH}\n{note}{stdin}")
        write(tools / "owned", f'#!{SH}\nprintf "OWNED\\036" >>"{notes}"\n')
        write(tools / "sleep", f"#!{SH}\n")
    return tools


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_the_sandbox_sees_what_is_run(tmp_path: Path) -> None:
    assert noted("tc 'a b' c", tmp_path)[:3] == ["tc", "a b", "c"]
    with pytest.raises(AssertionError):
        noted("tc $(owned)", tmp_path)
    with pytest.raises(AssertionError):
        noted("tc a >file", tmp_path)
