"""Every scenario at once: together they last as long as the longest of them."""

from __future__ import annotations

import pytest

from tests.truth import test_measurement_is_true, test_streams_are_true
from tests.truth.measuring import Measured, Scenario, measure


@pytest.fixture(scope="package")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    folder = tmp_path_factory.mktemp("truth")

    def scenarios(start: int) -> dict[str, Scenario]:
        return test_measurement_is_true.scenarios(start) | test_streams_are_true.scenarios(start, folder)

    return measure(scenarios, folder)
