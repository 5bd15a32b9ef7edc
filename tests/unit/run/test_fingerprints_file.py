from __future__ import annotations

from pathlib import Path

import pytest

from chaos.errors import RecordingError
from chaos.record.fingerprints import FILE, load, store


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    store(tmp_path, {"a": ("x: 1", "é"), "b": ()}, {"a": ("x: 2",)})
    found = load(tmp_path)
    assert found is not None
    assert (found.before, found.after) == ({"a": ("x: 1", "é"), "b": ()}, {"a": ("x: 2",)})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("text", ["{", "[]", '{"before": {}}', '{"before": [], "after": {}}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RecordingError, match=FILE):
        load(tmp_path)
