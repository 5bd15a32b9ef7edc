"""The verdict as JSON: what `verdict.json` holds and what `--json` prints.

Keys stand in the order of the model, figures in the order of `wording.LABELS` and then by name, so that two runs can be
compared with `diff`. A number that JSON has no word for (NaN, infinity) is null.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chaos.judge.verdict import Verdict
from chaos.report.wording import figure_order


def verdict_json(verdicts: Sequence[Verdict]) -> str:
    """Return one object for one verdict, a list for several (or none), ended by a newline."""
    shown = [_as_dict(v) for v in verdicts]
    return json.dumps(shown[0] if len(shown) == 1 else shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(verdict.model_dump_json())
    names = sorted(loaded["figures"], key=figure_order)
    loaded["figures"] = {name: loaded["figures"][name] for name in names}
    return loaded
