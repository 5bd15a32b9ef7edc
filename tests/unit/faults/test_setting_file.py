"""The program that swaps one value in a file: nothing else of the file is touched, and what is not plain is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.faults._payloads import setting_file

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
SCALARS = st.one_of(st.integers(), st.booleans(), st.text(max_size=5))
NAMES = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=4)


@given(
    path=st.lists(NAMES | st.integers(0, 2), min_size=1, max_size=4),
    around=JSONS,
    former=JSONS,
    value=SCALARS,
    indent=st.sampled_from([None, 0, 3, "\t"]),
    ascii_only=st.booleans(),
)
@settings(deadline=None)
def test_a_value_of_json_is_swapped_and_every_other_character_stays(
    path: list[str | int], around: Any, former: Any, value: Any, indent: Any, ascii_only: bool
) -> None:
    document, expected = former, value
    for name in reversed(path):
        document, expected = (wrapped(inner, name, around) for inner in (document, expected))
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    key, new = ".".join(map(str, path)), json.dumps(value)
    span, found = setting_file.located(text, "key", key)
    assert json.loads(found) == former
    changed = setting_file.spliced(text, span, "key", key, new)
    assert json.loads(changed) == expected
    back, found = setting_file.located(changed, "key", key)
    assert (found, setting_file.spliced(changed, back, "key", key, text[slice(*span)])) == (new, text)


def wrapped(inner: Any, name: str | int, around: Any) -> Any:
    if isinstance(name, int):
        return [*[around] * name, inner, around]
    return {f"{name}x": around, name: inner, "": around}


def look(file: Path, how: str, where: str, value: str) -> dict[str, Any]:
    word, _, said = run("look", file, how, where, value).stdout.partition(" ")
    return {word: json.loads(said)}


def run(task: str, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", setting_file.__file__, task, str(file), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={"LC_ALL": "C"})


def test_a_file_keeps_its_bytes_inode_mode_owner_and_links(tmp_path: Path) -> None:
    file, other = tmp_path / "a.conf", tmp_path / "b.conf"
    before = b"# caf\xe9\r\nbatch = 32 # \xc3\xa9\r\n\r\nend = 32"
    file.write_bytes(before)
    file.chmod(0o640)
    os.link(file, other)
    found = file.stat()
    match = r"^batch = (.*) #"
    assert look(file, "match", match, "no more\u20ac") == {"value": "32"}
    for _ in range(2):
        assert run("swap", file, "match", match, "32", "no more\u20ac").returncode == 0
        assert other.read_bytes() == before.replace(b"32", "no more\u20ac".encode(), 1)
    for _ in range(2):
        assert run("swap", file, "match", match, "no more\u20ac", "32").returncode == 0
        assert other.read_bytes() == before
    now = file.stat()
    assert (now.st_ino, now.st_mode, now.st_uid, now.st_nlink) == (found.st_ino, found.st_mode, found.st_uid, 2)


def test_who_has_set_another_value_keeps_it(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("x=7\n")
    done = run("swap", file, "match", "x=(.*)", "1", "32")
    assert (done.returncode, file.read_text()) == (1, "x=7\n")
    assert "somebody has set '7', which is neither '1' nor '32': it is left alone" in done.stderr


@pytest.mark.parametrize(
    ("text", "how", "where", "value", "wrong"),
    [
        ("a=1\na=2\n", "match", "^a=(.*)", "3", "'^a=(.*)' matches 2 times"),
        ("b=1\n", "match", "^a=(.*)", "3", "'^a=(.*)' matches 0 times"),
        ("b=1\n", "match", "b=1(x)?", "3", "it must match once, with its group"),
        ("a=1\n", "match", r"^a=(\d+)$", "many", "with 'many' it would not be found again"),
        ("a=1\n", "match", r"^a=(\w+)", "x y", "with 'x y' it would be found as 'x'"),
        ('{"a": 1}', "key", "b", "3", "there is no 'b'; there are: a"),
        ('{"a": 1}', "key", "a.b", "3", "there is no 'b'; there are: none"),
        ('{"a": 1, "a": 2}', "key", "a", "3", "'a' is there twice"),
        ('{"a": 1, }', "key", "a", "3", "property name"),
        ("", "key", "a", "3", "Expecting value"),
        ("x" * 2**20 + "y", "match", "(y)", "z", "at most 1048576 are read"),
    ],
)
def test_what_could_not_be_put_back_is_said(
    text: str, how: str, where: str, value: str, wrong: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text(text)
    assert wrong in look(file, how, where, value)["wrong"]
    assert file.read_text() == text


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a=1\n")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "bytes").write_bytes(b"a=\xff\n")
    refused = {
        "link": "is a link; name /",
        ".": "no ordinary file",
        "none": "No such file",
        "bytes": "utf-8",
    }
    for name, wrong in refused.items():
        assert wrong in look(tmp_path / name, "match", "a=(.*)", "2")["wrong"]
    assert "no ordinary file" in look(Path("/proc/sys/kernel/ostype"), "match", "(Linux)", "2")["wrong"]
