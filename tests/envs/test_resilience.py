"""Failures of supply: how long customers don't feel them, how long until all is well again."""

from __future__ import annotations

import numpy as np
import pytest

from envs.compiled.network import compile_network
from envs.kpis.resilience import Failure, ResilienceTally, resilience_figures
from envs.network.demand import Demand
from envs.network.lane import Lane, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, Regime, RegimeState
from envs.simulation.simulator import Simulator

DOWN = RegimeState("down", availability=0.0)
FAILS = EventWindow(10, 10, 6)  # in periods 10 to 15


def network(
    struck: RegimeState = DOWN, schedule: EventWindow = FAILS, second: bool = True,
    by_resource: bool = False,
) -> SupplyNetwork:  # fmt: skip
    """A shop that sells 5 a period; its supplier, a period away, fails; a second one may be there,
    unused. Stock lasts two periods."""
    regimes = (Regime("supplier", (RegimeState("up"), struck), schedule),)
    resources = (Resource("dock", 1e9, regimes=("supplier",)),) if by_resource else ()
    lanes = [
        Lane("first", "shop", "item", LeadTime(1), initial_in_transit=(5.0,),
             regimes=() if by_resource else ("supplier",),
             resources=(ResourceUse("dock"),) if by_resource else ())
    ]  # fmt: skip
    if second:
        lanes.append(Lane("second", "shop", "item", LeadTime(1), base_share=0.0))
    demand = Demand(5.0, 1.0, history=np.full(40, 5.0))
    stock = Stock("shop", "item", initial_stock=5.0, backlog_cost=1.0, demand=demand)
    return SupplyNetwork(
        (Node("shop", "store"),), (Sku("item"),), (stock,), tuple(lanes), resources, regimes
    )


def play(
    network: SupplyNetwork, periods: int = 30, second: dict[int, float] | None = None
) -> list[Failure]:
    """Order 5 a period on the first lane, but what `second` says for a period on the second."""
    net = compile_network(network)
    simulator = Simulator(net, 2)
    simulator.reset(0)
    tally = ResilienceTally(net, 2)
    for t in range(periods):
        other = (second or {}).get(t, 0.0)
        orders = [5.0 - other, other][: len(network.lanes)]
        simulator.close_period_with_orders(np.repeat(np.array(orders)[:, None], 2, axis=1))
        order = simulator.flows.ordered.sum(axis=0, keepdims=True)
        tally.add(simulator.trace.true_regime, simulator.flows, order)
        simulator.open_period()
    failures = tally.failures()
    assert failures[::2] == failures[1::2]  # both episodes are the same
    return failures[::2]


@pytest.mark.parametrize("by_resource", [False, True])
def test_a_failure_is_timed(by_resource: bool) -> None:
    """Fails in 10, stock lasts through 11, the first short period is 12; what was owed ships in
    16 and arrives in 17, and no period is short from there on."""
    failures = play(network(by_resource=by_resource))
    assert failures == [Failure("supplier", survive=2, recover=7, shift=None, shiftable=True)]


@pytest.mark.parametrize(
    ("struck", "survive"),
    [
        # Goods that had left before still arrive, but not through a closed gate.
        (RegimeState("down", ordering=0.0), 2),
        (RegimeState("down", transit=0.0), 1),
        (RegimeState("down", receiving=0.0), 1),
    ],
)
def test_every_kind_of_disruption_counts(struck: RegimeState, survive: int) -> None:
    """Orders, goods on their way or receipts can pause; stock at the start of period 10 is 5."""
    (failure,) = play(network(struck))
    assert failure.survive == survive


def test_a_slow_supplier_has_not_failed() -> None:
    """Half of what is asked for still comes: degraded, not down."""
    assert play(network(RegimeState("slow", availability=0.5))) == []


def test_a_shift_is_when_the_other_lane_gets_most_orders() -> None:
    """Half isn't more than half: the shift is in period 13, three after the failure began."""
    (failure,) = play(network(), second={11: 2.0, 12: 2.5, 13: 4.0, 14: 4.0})
    assert failure.shift == 3
    (late,) = play(network(), second={16: 5.0})  # when all is well again
    assert late.shift is None


def test_without_another_lane_nothing_can_shift() -> None:
    """Such failures don't count against the share that was shifted."""
    (failure,) = play(network(second=False))
    assert not failure.shiftable
    assert "shifted_share" not in resilience_figures([failure])


def test_a_short_failure_is_not_felt() -> None:
    """One period without shipments: stock lasts."""
    assert play(network(schedule=EventWindow(10, 10, 1))) == [
        Failure("supplier", None, None, None, True)
    ]


def test_the_end_of_the_episode_ends_the_wait() -> None:
    """A failure for good is felt after two periods, and lasts to the end, 20 periods on."""
    (failure,) = play(network(schedule=EventWindow(10, 10)), periods=30)
    assert (failure.survive, failure.recover) == (2, 20)


def test_a_failure_that_began_before_is_not_counted() -> None:
    """Only beginnings that were seen can be timed."""
    assert play(network(schedule=EventWindow(0, 0, 5))) == []


def test_figures_are_means_over_failures_and_leave_out_what_none_has() -> None:
    """Three failures by hand; without any there is nothing to say."""
    failures = [
        Failure("a", 2, 8, 3, True), Failure("a", 4, 6, None, True),
        Failure("b", None, None, 1, False),
    ]  # fmt: skip
    assert resilience_figures(failures) == {
        "failures": 3, "survived_share": pytest.approx(1 / 3), "shifted_share": 0.5,
        "time_to_survive": 3, "time_to_recover": 7, "time_to_shift": 3,
    }  # fmt: skip
    assert resilience_figures([]) == {}
    assert "time_to_recover" not in resilience_figures(failures[2:])
