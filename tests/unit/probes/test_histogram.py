"""Counts in buckets against the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.histogram import BUCKETS, bucket_of, quantile

latencies = st.integers(min_value=0, max_value=2**31 - 1)


@given(st.lists(latencies, min_size=1, max_size=50), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_right_to_a_sixteenth(values: list[int], share: float) -> None:
    counts = np.zeros((2, BUCKETS), np.int64)
    for value in values:
        counts[0, bucket_of(value)] += 1
    exact = np.quantile(values, share, method="inverted_cdf")
    found = quantile(counts, share)
    assert found[0] * 1e6 == pytest.approx(exact + 0.5, rel=1 / 16)
    assert np.isnan(found[1])


@given(latencies, latencies)
def test_a_longer_latency_is_in_no_lower_bucket(one: int, other: int) -> None:
    assert (bucket_of(one) <= bucket_of(other)) == (one <= other) or bucket_of(one) == bucket_of(other)


def test_what_is_out_of_range_counts_at_the_ends() -> None:
    assert (bucket_of(-5), bucket_of(2**40)) == (0, BUCKETS - 1)
