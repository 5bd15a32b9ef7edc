from __future__ import annotations

import json

from chaos.judge.verdict import Figure, Verdict
from chaos.report.jsonout import verdict_json
from tests.unit.report import report_examples as examples


def test_one_verdict_is_an_object_that_reads_back_the_same() -> None:
    assert Verdict.model_validate_json(verdict_json([examples.verdict()])) == examples.verdict()


def test_several_are_a_list_and_so_is_none() -> None:
    assert len(json.loads(verdict_json([examples.verdict(), examples.verdict("fail")]))) == 2
    assert json.loads(verdict_json([])) == []


def test_the_order_of_figures_does_not_depend_on_who_made_them() -> None:
    backwards = dict(reversed(examples.figures(zz=Figure(value=1.0, unit="1")).items()))
    names = list(json.loads(verdict_json([examples.verdict(figures=backwards)]))["figures"])
    assert names[:2] == ["qps_mean", "qps_p05"]
    assert names[-1] == "zz"


def test_keys_stand_in_the_order_of_the_model() -> None:
    assert list(json.loads(verdict_json([examples.verdict()]))) == list(Verdict.model_fields)


def test_a_number_json_has_no_word_for_is_null() -> None:
    figures = {"qps_mean": Figure(value=float("nan"), unit="1/s", interval=(0.0, float("inf")))}
    shown = json.loads(verdict_json([examples.verdict(figures=figures)]))["figures"]["qps_mean"]
    assert (shown["value"], shown["interval"]) == (None, [0.0, None])
