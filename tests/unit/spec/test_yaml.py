from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos.errors import SpecError
from chaos.spec.places import Document
from chaos.spec.yaml import MAX_CHARACTERS, read_yaml


def read(folder: Path, text: str | bytes) -> Document:
    file = folder / "x.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(file, SpecError)


def refusal(folder: Path, text: str | bytes) -> str:
    with pytest.raises(SpecError) as caught:
        read(folder, text)
    (line,) = caught.value.lines
    return line.removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("2026-11-23", "2026-11-23"),
        ("~", None),
        ("'1'", "1"),
        ("!!str 5", "5"),
        ("50%", "50%"),
    ],
)
def test_scalars_follow_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    read_value = read(tmp_path, f"a: {text}\n").value["a"]
    assert (read_value, type(read_value)) == (value, type(value))


def test_keys_are_text_as_written(tmp_path: Path) -> None:
    assert list(read(tmp_path, "on: 1\nno: 2\n1: 3\n").value) == ["on", "no", "1"]


def test_every_key_and_item_has_its_place(tmp_path: Path) -> None:
    places = read(tmp_path, "a:\n  - b: 1\n    é: {c: 2}\n  - x\n").places
    found = {path: (place.line, place.column) for path, place in places.items()}
    assert found == {
        (): (1, 1),
        ("a",): (1, 1),
        ("a", 0): (2, 5),
        ("a", 0, "b"): (2, 5),
        ("a", 0, "é"): (3, 5),
        ("a", 0, "é", "c"): (3, 9),
        ("a", 1): (4, 5),
    }


def test_a_missing_key_has_the_place_around_it(tmp_path: Path) -> None:
    place = read(tmp_path, "a:\n  b: 1\n").place(("a", "c", 0))
    assert (place.line, place.column) == (1, 1)


def test_merged_keys_give_way_to_written_ones(tmp_path: Path) -> None:
    value = read(tmp_path, "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}\n").value
    assert value["c"] == {"x": 1, "y": 1, "z": 3}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: *b\n", "x.yaml:1:4: no anchor &b ends before the alias *b"),
        ("a: &a [*a]\n", "x.yaml:1:8: no anchor &a ends before the alias *a"),
        ("[" * 100_000, "x.yaml:1:52: nested deeper than 50 levels"),
        ("? [a]\n: 1\n", "x.yaml:1:3: a key must be plain text; found a list, a mapping or an alias"),
        ("a: b\nc: \x01\n", "x.yaml:2:4: not YAML: the character U+0001 is not allowed"),
        ('a: "\\ud800"\n', "x.yaml:1:4: half of a surrogate pair is no character"),
        (b"a: \xff\n", "x.yaml: not UTF-8: invalid start byte"),
        ("a" * (MAX_CHARACTERS + 1), f"x.yaml: longer than the {MAX_CHARACTERS} characters that are read"),
    ],
)
def test_unreadable_text_is_one_line(tmp_path: Path, text: str | bytes, line: str) -> None:
    assert refusal(tmp_path, text) == line


def test_an_absurd_escape_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path, 'a: "\\U99999999"\n').startswith("x.yaml:1:1: not YAML: ")


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none.yaml: can't be read: No such file or directory$"):
        read_yaml(tmp_path / "none.yaml", SpecError)


def test_nesting_by_aliases_is_bounded(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 100))]
    assert "50 levels" in refusal(tmp_path, "\n".join(rows))


@pytest.mark.parametrize("text", [".nan", "-.inf", "1e999"])
def test_numbers_are_finite(tmp_path: Path, text: str) -> None:
    (mistake,) = read(tmp_path, f"a: {text}\n").mistakes
    assert mistake.text == f"{text} is not a finite number"


def test_a_mistake_is_one_line_whatever_the_key(tmp_path: Path) -> None:
    (mistake,) = read(tmp_path, '"a\\nb": 1\n"a\\nb": 2\n').mistakes
    line = "x.yaml:2:1: ['a\\nb']: this key stands twice; it stood before at line 1"
    assert str(mistake).removeprefix(f"{tmp_path}/") == line
