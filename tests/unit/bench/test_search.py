from hypothesis import example, given
from hypothesis import strategies as st

from scripts.benchmarks.search import PRECISION, highest, twice

RATES = st.floats(min_value=1, max_value=1e6)


@given(truth=RATES, off=st.floats(min_value=0.1, max_value=10))
@example(truth=1000.0, off=1.0)
def test_the_highest_rate_is_found_within_its_precision(truth: float, off: float) -> None:
    found = highest(lambda rate: rate <= truth, truth * off)
    assert truth / PRECISION <= found <= truth


def test_what_is_never_sustained_is_nothing_and_ends() -> None:
    tried: list[float] = []

    def never(rate: float) -> bool:
        tried.append(rate)
        return False

    assert highest(never, 1000.0) == 0
    assert min(tried) <= 1000 / 50


def test_a_second_try_is_given_once() -> None:
    outcomes = iter([False, True, False, False])
    sustains = twice(lambda _rate: next(outcomes))
    assert sustains(1.0)
    assert not sustains(1.0)
