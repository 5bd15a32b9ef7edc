"""What `pfc` and `ets` take, and with what they can't be together; what they do stands in their cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from chaos.contracts import Fault
from chaos.faults.ets import Ets
from chaos.faults.pfc import Pfc


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        (Pfc, {}, "it sets nothing: give priorities"),
        (Pfc, {"priorities": [8]}, "less than or equal to 7"),
        (Pfc, {"priorities": [], "driver": "ethtool"}, "'dcb', 'mlnx_qos' or 'sonic'"),
        (Ets, {}, "it sets nothing: give tc_bw"),
        (Ets, {"tc_bw": {8: 1}}, "less than or equal to 7"),
        (Ets, {"tc_bw": {0: 101}}, "less than or equal to 100"),
        (Ets, {"tc_tsa": {0: "fair"}}, "'strict', 'cbs', 'ets' or 'vendor'"),
        (Ets, {"tc_bw": {0: 1}, "driver": "sonic"}, "'dcb' or 'mlnx_qos'"),
    ],
)
def test_what_means_nothing_is_refused(kind: type[Fault[Any]], given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        kind.model_validate(given)


def test_two_can_not_set_the_same_of_an_interface() -> None:
    none, one = Pfc(interface="eth1", priorities=()), Pfc(interface="eth1", priorities=(1,))
    assert none.clash(one) == "another pfc sets the same of eth1 at the same time"
    assert none.clash(Pfc(interface="eth2", priorities=())) is None
    assert none.clash(Ets(interface="eth1", tc_bw={0: 100})) is None


def test_the_most_that_pause_are_counted_in_traffic_classes() -> None:
    fault = Pfc(interface="eth1", priorities=(1, 2, 4))
    before = fault.typical()
    assert before.dcb.pfc is not None
    two = replace(before, dcb=replace(before.dcb, pfc=replace(before.dcb.pfc, classes=2)))
    assert fault.objection(two) == "eth1 can pause 2 traffic classes at once; 3 were asked for"
    ets = Ets(interface="eth1", prio_tc={1: 0, 2: 0, 4: 0})
    one_class = ets.wanted(ets.typical())
    assert fault.objection(replace(two, dcb=replace(two.dcb, ets=one_class))) is None


def test_shares_that_could_not_be_put_back_are_left_alone() -> None:
    fault = Ets(interface="eth1", tc_bw={0: 18})
    before = fault.typical()
    assert before.dcb.ets is not None
    odd = replace(before, dcb=replace(before.dcb, ets=replace(before.dcb.ets, tc_bw=(8, *before.dcb.ets.tc_bw[1:]))))
    assert fault.objection(odd) == (
        "the shares of eth1 would be 105 % (0: 18, 1: 13, 2: 13, 3: 13, 4: 12, 5: 12, 6: 12, 7: 12) together, "
        "and must be 100 %"
    )
    assert Ets(interface="eth1", tc_bw={0: 13}).objection(odd) == (
        "the shares of eth1 are 95 % (0: 8, 1: 13, 2: 13, 3: 13, 4: 12, 5: 12, 6: 12, 7: 12) together, "
        "and could not be put back so"
    )
