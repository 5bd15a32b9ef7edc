"""The image's manifest: what is damaged or outdated is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.lab.image import damage, write_manifest


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "kernel").write_bytes(b"kernel")
    (tmp_path / "lib/module.ko").write_bytes(b"module")
    write_manifest(tmp_path, "recipe")
    return tmp_path


def test_a_sound_image_has_no_damage(image: Path) -> None:
    assert damage(image, "recipe") == ""


def test_a_changed_byte_is_seen(image: Path) -> None:
    (image / "lib/module.ko").write_bytes(b"modulE")
    assert damage(image, "recipe") == "lib/module.ko is damaged"


def test_a_missing_file_is_seen(image: Path) -> None:
    (image / "kernel").unlink()
    assert damage(image, "recipe") == "kernel is damaged"


def test_another_recipe_is_seen(image: Path) -> None:
    assert damage(image, "newer recipe") == "it was made by another version"


@pytest.mark.parametrize("text", ["", "{", "{}"])
def test_a_torn_manifest_is_no_image(image: Path, text: str) -> None:
    (image / "manifest.json").write_text(text)
    assert damage(image, "recipe") == "there is none yet"
