"""Every case in tests/cases/faults of a change of the load: what it lays over a load, or why it does not fit it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos import catalog
from chaos.contracts import LoadChange
from chaos.errors import Misfit
from chaos.overlays import LoadView, Overlay, RatePiece, Sent

CASES = Path(__file__).parents[2] / "cases" / "faults"
ALL = [path for kind, _ in catalog.load_changes() for path in sorted((CASES / kind).glob("*.json"))]
ACTING = [path for path in ALL if json.loads(path.read_text())["objection"] is None]


def name(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def load(path: Path) -> tuple[dict[str, Any], LoadChange, LoadView]:
    case = json.loads(path.read_text(encoding="utf-8"))
    change = catalog.load_changes().get(path.parent.name).model_validate(case["fault"])
    rates = tuple(RatePiece(**piece) for piece in case["load"]["rates"])
    return case, change, LoadView(**case["load"] | {"rates": rates})


@pytest.mark.parametrize("path", sorted({*ALL} - {*ACTING}), ids=name)
def test_misfit(path: Path) -> None:
    case, change, view = load(path)
    with pytest.raises(Misfit) as caught:
        change.overlay(view)
    assert (str(caught.value), caught.value.path) == (case["objection"], tuple(case["path"]))


@pytest.mark.parametrize("path", ACTING, ids=name)
def test_overlay_and_dose(path: Path) -> None:
    case, change, view = load(path)
    assert change.overlay(view) == Overlay(begin=view.begin, end=view.end, **case["overlay"])
    assert change.asked(view) == pytest.approx(case["asked"])
    assert change.achieved(Sent(**case["sent"])) == pytest.approx(case["achieved"])
