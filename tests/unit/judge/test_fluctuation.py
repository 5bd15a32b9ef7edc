"""Fluctuation: the formulas by hand, and the rule for when a limit can't be judged."""

import math

import numpy as np
import pytest

from chaos.judge.dispersion import Dispersion
from chaos.judge.fluctuation import Fluctuation, fluctuation, fluctuation_findings
from chaos.record.terms import Terms


def test_the_formulas_by_hand() -> None:
    found = fluctuation(np.array([90, 110, 90, 110, 90, 110, 90, 110]), dispersion=1.0)
    variance = 8 * 100 / 7
    assert found.n == 8
    assert found.mean == 100
    assert found.cv_raw == pytest.approx(math.sqrt(variance) / 100)
    assert found.cv_noise == pytest.approx(0.1)
    assert found.cv_real == pytest.approx(math.sqrt(variance - 100) / 100)
    assert found.p == pytest.approx(0.33, abs=0.01)  # chi2 with 7 degrees of freedom, 8.0


def test_counts_steadier_than_poisson_have_no_real_fluctuation() -> None:
    assert fluctuation(np.full(20, 50), dispersion=1.0).cv_real == 0


def test_paced_arrivals_bring_no_noise_so_all_of_the_variation_is_real() -> None:
    found = fluctuation(np.array([90, 110] * 10), dispersion=0.0)
    assert found.cv_noise == 0
    assert found.cv_real == found.cv_raw
    assert found.p == 0


@pytest.mark.parametrize("counts", [np.arange(6), np.zeros(10, int)])
def test_too_few_windows_or_no_request_is_an_error(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    with pytest.raises(ValueError, match="at least 7 windows and a request"):
        fluctuation(counts, dispersion=1.0)


def test_too_few_steady_windows_give_figures_without_value() -> None:
    terms = Terms(name="x", rate=100, warmup=0, baseline=0, observe=6)
    found = fluctuation_findings(np.full(6, 100), terms, Dispersion(1.0))
    assert {name: f.figure.value for name, f in found.items()} == {
        "qps_cv_raw": None,
        "qps_cv_noise": None,
        "qps_cv_real": None,
    }
    assert found["qps_cv_real"].reason == "6 steady windows are too few, 7 are required: observe for longer"


@pytest.mark.parametrize(
    ("n", "mean", "limit", "resolved"),
    [
        (60, 225, 0.2, True),  # measurement noise is a third of the limit
        (60, 50, 0.2, True),
        (20, 20, 0.2, False),
        (180, 20, 0.2, True),  # many windows make up for few requests
        (60, 225, 0.02, False),
        (60, 225, 0.0, False),  # no measurement resolves a limit of nothing
    ],
)
def test_which_limits_a_measurement_resolves(n: int, mean: float, limit: float, resolved: bool) -> None:
    found = Fluctuation(n=n, mean=mean, cv_raw=0, cv_noise=1 / math.sqrt(mean), cv_real=0, p=1.0)
    assert (found.doubt(limit) == "") is resolved


def test_the_doubt_says_what_to_change() -> None:
    found = Fluctuation(n=20, mean=20, cv_raw=0.25, cv_noise=math.sqrt(1 / 20), cv_real=0.1, p=0.2)
    assert found.doubt(0.2) == (
        "20 windows of 20 requests carry a sampling noise of 0.22 and can't resolve a limit of 0.2 (dispersion test "
        "p = 0.2): raise the rate or widen the window to 225 requests a window, or observe for longer"
    )


def test_a_limit_is_not_broken_by_what_the_arrivals_explain() -> None:
    found = Fluctuation(n=60, mean=225, cv_raw=0.22, cv_noise=0.067, cv_real=0.21, p=0.06)
    assert "dispersion test p = 0.06" in found.doubt(0.2)
    assert found.doubt(0.3) == ""
